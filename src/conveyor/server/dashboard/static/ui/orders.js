// What can be done to a queue or a worker, with its question, its effect and its undoing.
import { html } from "../lib/html.js";
import { get, getAll, put, remove, segment } from "../lib/api.js";
import { count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { depthOf } from "../lib/queues.js";
import { commandLine } from "../lib/shell.js";
import { act, ask, askAfter } from "./dialog.js";

const setPaused = (name, paused, reason = "") =>
  put(`queues/${segment(name)}/paused`, { paused, reason });

export const pauseQueue = (name) =>
  askAfter(async () => ({
    call: "set_paused",
    title: `Pause queue ${visible(name)}?`,
    yes: "Pause the queue",
    body: html`<p>
      Running jobs go on; no worker starts another one.
      ${" "}${waitingText(depthOf(await get(`queues/${segment(name)}`)))} Producers can still enqueue.
    </p>`,
    command: commandLine("conveyor", "queues", "pause", name),
    run: (reason) => setPaused(name, true, reason),
    done: `Queue ${visible(name)} is paused.`,
    undo: () => resumeQueue(name),
  }));

const waitingText = (waiting) =>
  waiting === 1 ? "1 job waits and keeps its place." : `${count(waiting)} jobs wait and keep their places.`;

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

export const removeWorker = (id) =>
  askAfter(async () => {
    const worker = (await getAll("workers")).find((each) => each.id === id);
    const running = worker?.running ?? 0;
    return {
      call: "dismiss",
      title: `Remove worker ${visible(id)}?`,
      yes: "Remove it",
      isHarmful: true,
      typed: running > 0 ? String(running) : null,
      body: html`<p>${removalText(running)}</p>`,
      command: commandLine("conveyor", "workers", "remove", running > 0 ? "--force" : "", id),
      run: async (reason) => {
        const force = running > 0 ? "true" : "";
        const { forgotten } = await remove(`workers/${segment(id)}`, { force, reason });
        return forgotten
          ? "The worker is removed."
          : "The worker lives, and was told to drain and exit.";
      },
    };
  });

function removalText(running) {
  if (running === 0) {
    return "It runs no job. If its process lives after all, it is told to drain and exit.";
  }
  const jobs =
    running === 1
      ? "Its running job counts as crashed, and another worker runs it again."
      : `Its ${running} running jobs count as crashed, and other workers run them again.`;
  return `${jobs} If its process lives after all, it stops them, and what they still write is refused.`;
}
