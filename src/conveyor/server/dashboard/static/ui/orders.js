// What can be done to a queue or a worker, with its question, its effect and its undoing.
import { html } from "../lib/html.js";
import { put, remove, segment } from "../lib/api.js";
import { count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { commandLine } from "../lib/shell.js";
import { act, ask } from "./dialog.js";

const setPaused = (name, paused, reason = "") =>
  put(`queues/${segment(name)}/paused`, { paused, reason });

export function pauseQueue(name, waiting) {
  ask({
    call: "set_paused",
    title: `Pause queue ${visible(name)}?`,
    yes: "Pause the queue",
    body: html`<p>
      Running jobs go on; no worker starts another one. ${count(waiting)} jobs wait and keep their
      places. Producers can still enqueue.
    </p>`,
    command: commandLine("conveyor", "queues", "pause", name),
    run: (reason) => setPaused(name, true, reason),
    done: `Queue ${visible(name)} is paused.`,
    undo: () => resumeQueue(name),
  });
}

export function resumeQueue(name) {
  return act(
    () => setPaused(name, false),
    `Queue ${visible(name)} is resumed.`,
    () => act(() => setPaused(name, true, "undone"), `Queue ${visible(name)} is paused again.`),
  );
}

const ORDERS = {
  quiet: {
    yes: "Quiet it",
    effect: "It goes on with the jobs that it runs, claims no others, and stays.",
  },
  drain: {
    yes: "Drain it",
    effect: "It goes on with the jobs that it runs, claims no others, and then exits.",
  },
};

const sendOrder = (id, order, reason = "") =>
  put(`workers/${segment(id)}/order`, { order, reason });

export function orderWorker(id, order) {
  ask({
    call: "order",
    title: `${order === "quiet" ? "Quiet" : "Drain"} worker ${visible(id)}?`,
    yes: ORDERS[order].yes,
    body: html`<p>${ORDERS[order].effect} It obeys at its next heartbeat, within seconds.</p>`,
    command: commandLine("conveyor", "workers", order, id),
    run: (reason) => sendOrder(id, order, reason),
    done: order === "quiet" ? "The worker claims no jobs." : "The worker drains.",
    undo: order === "quiet" ? () => resumeWorker(id) : undefined,
  });
}

export const resumeWorker = (id) =>
  act(() => sendOrder(id, "work"), `Worker ${visible(id)} claims jobs again.`);

export function removeWorker(id, running) {
  ask({
    call: "dismiss",
    title: `Remove worker ${visible(id)}?`,
    yes: "Remove it",
    isHarmful: true,
    typed: running > 0 ? String(running) : null,
    body: html`<p>
      ${
        running === 0
          ? "It runs no job."
          : `Its ${running} running jobs count as crashed, and other workers run them again.`
      }
      ${" "}If its process lives after all, the store refuses it from then on, and it stops its jobs.
    </p>`,
    command: commandLine("conveyor", "workers", "remove", running > 0 ? "--force" : "", id),
    run: async (reason) => {
      const force = running > 0 ? "true" : "";
      const { forgotten } = await remove(`workers/${segment(id)}`, { force, reason });
      return forgotten
        ? "The worker is removed."
        : "The worker lives, and was told to drain and exit.";
    },
  });
}
