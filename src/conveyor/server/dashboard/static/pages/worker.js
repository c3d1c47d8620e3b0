// One worker: whether it is safe to restart it, and what it runs for how long.
import { html } from "../lib/html.js";
import { getAll, getPage } from "../lib/api.js";
import { useRead } from "../lib/data.js";
import { bytes, count, now, span } from "../lib/format.js";
import { completeJob } from "../lib/jobs.js";
import { visible } from "../lib/foreign_text.js";
import { commandLine } from "../lib/shell.js";
import { link } from "../lib/route.js";
import { isAgent, standingOf } from "../lib/workers.js";
import { Action, Cli } from "../ui/button.js";
import { Slots } from "../ui/figures.js";
import { jobLink, Name, Queue } from "../ui/name.js";
import { orderWorker, removeWorker, resumeWorker } from "../ui/orders.js";
import { Card, Data, Empty, Facts, Page } from "../ui/page.js";
import { maySeeStacks, StackDump } from "../ui/stack_dump.js";
import { Level, State, stateOf } from "../ui/state.js";
import { Since, When } from "../ui/time.js";

const SHOWN = 100;

export function WorkerPage({ id }) {
  const read = useRead(`worker ${id}`, () => readWorker(id), 1);
  const worker = read.data?.worker;
  const sub =
    worker &&
    html`${isAgent(worker) ? "agent" : "worker"} on${" "}
      <a href=${link("workers", { host: worker.host })}><${Name} of=${worker.host} /></a>, process ${worker.pid}`;
  return html`<${Page}
    title=${id}
    back=${["Workers", "#/workers"]}
    status=${worker && html`<span class="statebig"><${State} is=${standingOf(worker)} /></span>`}
    sub=${sub}
    actions=${worker && html`<${Actions} worker=${worker} />`}
  >
    <${Data} of=${read}>
      ${({ jobs }) => html`<${Restart} worker=${worker} jobs=${jobs} />
        <div class="grid wide">
          <${Runs} worker=${worker} jobs=${jobs} />
          <div class="stack">
            <${Card} title="Facts"><${Facts} of=${factsOf(worker)} /><//>
            <${Cli} command=${commandLine("conveyor", "workers", "drain", id)} />
          </div>
        </div>`}
    <//>
  <//>`;
}

async function readWorker(id) {
  const [workers, jobs] = await Promise.all([
    getAll("workers"),
    getPage("jobs", {
      worker: id,
      states: "running",
      order: "oldest",
      limit: SHOWN,
      include: "options,summary",
    }),
  ]);
  const worker = workers.find((each) => each.id === id);
  if (worker === undefined) {
    const detail = "The store forgets a worker once it has exited and its jobs have ended.";
    throw Object.assign(new Error(detail), { title: "There is no such worker", detail });
  }
  return { worker, jobs: jobs.rows.map(completeJob) };
}

function Actions({ worker }) {
  const { id, quiet, draining } = worker;
  const orders =
    quiet || draining
      ? html`<${Action} call="order" kind="main" icon="play" onClick=${() => resumeWorker(id)}>Resume<//>`
      : html`<${Action} call="order" icon="paused" onClick=${() => orderWorker(id, "quiet")}>Quiet<//>
          <${Action} call="order" icon="down" onClick=${() => orderWorker(id, "drain")}>Drain<//>`;
  return html`${standingOf(worker) !== "silent" && orders}
    <${Action} call="dismiss" kind="harm" onClick=${() => removeWorker(id)}>Remove<//>`;
}

/** The question behind most visits: what becomes of its jobs if it is restarted now? */
function Restart({ worker, jobs }) {
  const longest = Math.max(0, ...jobs.map((job) => now() - (job.started_at ?? now())));
  const lost = jobs.reduce((sum, job) => sum + now() - (job.started_at ?? now()), 0);
  const [level, text] = verdict(worker, jobs.length, longest);
  return html`<section class=${`why ${level}`} aria-label="Is it safe to restart it?">
    <${Level} is=${level} />
    <div>
      <h2>Is it safe to restart it?</h2>
      <p>${text}</p>
      ${
        jobs.length > 0 &&
        html`<ul class="parts">
        <li><span class="dim">Stopped at once instead</span> <strong>${jobsText(jobs.length)} to their queues</strong></li>
        <li><span class="dim">and lose</span> <strong>${span(lost)} of work</strong></li>
        <li><span class="dim">an attempt is used up</span> <strong>no</strong></li>
      </ul>`
      }
    </div>
  </section>`;
}

const jobsText = (number) => (number === 1 ? "1 job returns" : `${number} jobs return`);

function verdict(worker, jobs, longest) {
  if (standingOf(worker) === "silent") {
    return [
      "bad",
      "It is silent. Look at its host first: its process may hang, and its jobs with it.",
    ];
  }
  if (jobs === 0) return ["ok", "Yes. It runs nothing."];
  const what = jobs === 1 ? "its job" : `its ${jobs} jobs`;
  const since = `the longest has run for ${span(longest)}`;
  return [
    longest > 60 ? "warn" : "ok",
    `Yes, by draining: it waits for ${what} (${since}), at most for its drain time; what still runs then returns to its queue.`,
  ];
}

function Runs({ worker, jobs }) {
  return html`<${Card} title="What it runs" note=${`${jobs.length} of ${worker.slots} slots`}>
    ${
      jobs.length === 0
        ? html`<${Empty} title="It runs nothing">
          ${worker.draining ? "It exits now." : worker.quiet ? "It is quiet." : "It waits for jobs."}
        <//>`
        : html`<ul class="runs">
          ${jobs.map(
            (job) => html`<li key=${job.id}>
              <div class="row">
                <span class="job one">
                  <a class="strong" href=${jobLink(job.id)}><${Name} of=${job.task} /></a>${" "}
                  ${job.summary && html`<span class="args"><${Name} of=${job.summary} /></span>`}
                </span>
                <span class="right">
                  <${Queue} name=${job.queue} kind="quiet" /><${State} is=${stateOf(job)} />
                  <${Since} at=${job.started_at} />
                </span>
              </div>
              ${maySeeStacks() && html`<${StackDump} id=${job.id} />`}
            </li>`,
          )}
        </ul>`
    }
  <//>`;
}

const factsOf = (worker) => [
  ["Slots", html`<${Slots} busy=${worker.running} of=${worker.slots} />`],
  ["Queues", worker.queues.map((name) => html`<${Queue} key=${name} name=${name} /> `)],
  ["Labels", worker.labels.length ? visible(worker.labels.join(", ")) : "none"],
  ["Last heartbeat", html`<${When} at=${worker.beat_at} />`],
  ["Up for", html`<${Since} at=${worker.started_at} />`],
  worker.release && ["Release", html`<span class="mono"><${Name} of=${worker.release} /></span>`],
  worker.rss > 0 && ["Memory", bytes(worker.rss)],
  ["Attempts ended", count(worker.finished)],
  ...Object.entries(worker.sick).map(([kind, why]) => [
    `Cannot start: ${visible(kind)}`,
    html`<span class="bad">${visible(why)}</span>`,
  ]),
  ...Object.entries(worker.unsupported).map(([task, number]) => [
    "No code for",
    html`<${Name} of=${task} /> <span class="dim">(${count(number)} returned)</span>`,
  ]),
];
