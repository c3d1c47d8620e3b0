// One queue: what is wrong with it, what waits in it, who serves it, and how it went.
import { html, useState } from "../lib/html.js";
import { getAll, put, segment } from "../lib/api.js";
import { useData, useRead } from "../lib/data.js";
import { count, countOf, rate, span } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { depthOf } from "../lib/queues.js";
import { commandLine } from "../lib/shell.js";
import { Action, Cli } from "../ui/button.js";
import { ask } from "../ui/dialog.js";
import { Slots } from "../ui/figures.js";
import { HistoryCharts } from "../ui/history_charts.js";
import { failureLink, jobsLink, Name, Worker } from "../ui/name.js";
import { Card, Data, Empty, Facts, Page } from "../ui/page.js";
import { pauseQueue, resumeQueue } from "../ui/orders.js";
import { Problem } from "../ui/problems.js";
import { Level, State, STATES } from "../ui/state.js";
import { Since, When } from "../ui/time.js";
import { standingOf } from "../lib/workers.js";

const SERVING = 8; // workers that are listed

export function QueuePage({ id: name }) {
  const queue = useData(`queues/${segment(name)}`);
  const overview = useData("overview", { minutes: 60, queues: 1000 }, 5);
  const entry = overview.data?.queues.find((each) => each.name === name);
  const status =
    entry &&
    html`<span class=${`tag big ${entry.level}`}><${Level} is=${entry.level} />${entry.says || "well"}</span>`;
  return html`<${Page}
    title=${name}
    back=${["Queues", "#/queues"]}
    status=${status}
    actions=${queue.data && html`<${Actions} queue=${{ ...queue.data, depth: depthOf(queue.data) }} />`}
  >
    <${Data} of=${queue}>
      ${(
        shown,
      ) => html`<${Problems} name=${name} problems=${overview.data?.problems} />
        <${Counts} queue=${shown} />
        <${Past} name=${name} marks=${overview.data?.marks ?? []} />
        <div class="grid wide">
          <div class="stack"><${Failing} name=${name} /></div>
          <div class="stack">
            <${QueueFacts} queue=${shown} entry=${entry} /><${Serving} name=${name} />
          </div>
        </div>`}
    <//>
  <//>`;
}

function Actions({ queue }) {
  const { name, paused, depth } = queue;
  return html`<a class="btn" href=${jobsLink({ queue: name })}>Its jobs</a>
    <${Action} call="set_capacity" onClick=${() => askForCapacity(queue)}>Change the bound<//>
    ${
      paused
        ? html`<${Action} call="set_paused" kind="main" icon="play" onClick=${() => resumeQueue(name)}>Resume<//>`
        : html`<${Action} call="set_paused" icon="paused" onClick=${() => pauseQueue(name)}>Pause<//>`
    }`;
}

function askForCapacity({ name, capacity, depth }) {
  const edited = { text: capacity === null ? "" : String(capacity) };
  ask({
    call: "set_capacity",
    title: `Change the bound of ${visible(name)}`,
    yes: "Change it",
    body: () => html`<${CapacityForm} edited=${edited} depth=${depth} />`,
    run: (reason) =>
      put(`queues/${segment(name)}/capacity`, { capacity: parsedCapacity(edited.text), reason }),
    done: `The bound of ${visible(name)} is changed.`,
  });
}

function parsedCapacity(text) {
  if (text.trim() === "") return null;
  if (/^\d+$/.test(text.trim())) return Number(text);
  const detail = `“${text}” is not a whole number from 0; leave it empty for no bound.`;
  throw Object.assign(new Error(detail), { title: "The bound is not a number", detail });
}

function CapacityForm({ edited, depth }) {
  const [text, setText] = useState(edited.text);
  edited.text = text;
  return html`<p>
      ${count(depth)} jobs wait now. A larger bound lets waiting producers in at once; a smaller one
      removes no job. An application that declares another bound sets it again when it enqueues.
    </p>
    <label class="field">
      Jobs that may wait (empty: no bound)
      <input name="capacity" inputmode="numeric" value=${text} onInput=${(event) => setText(event.target.value)} />
    </label>`;
}

function Problems({ name, problems = [] }) {
  const own = problems.filter(({ subject }) => subject.kind === "queue" && subject.name === name);
  if (own.length === 0) return null;
  const level = own.some((each) => each.level === "bad") ? "bad" : "warn";
  return html`<section class=${`verdict ${level}`} aria-label="What is wrong">
    <ul>
      ${own.map((each) => html`<${Problem} key=${each.key} problem=${each} />`)}
    </ul>
  </section>`;
}

function Counts({ queue }) {
  return html`<ul class="states" aria-label="Jobs by state">
    ${STATES.map(
      (state) => html`<li key=${state}>
        <a href=${jobsLink({ queue: queue.name, state })}>
          <${State} is=${state} /><b>${count(queue.counts[state] ?? 0)}</b>
        </a>
      </li>`,
    )}
  </ul>`;
}

function Past({ name, marks }) {
  const history = useData("history", { queue: name }, 5);
  return html`<${Data} of=${history} rows=${4}>
    ${(shown) => html`<${HistoryCharts} history=${shown} marks=${marks} unit="a minute" />`}
  <//>`;
}

function QueueFacts({ queue, entry }) {
  const bound =
    queue.capacity === null ? "none" : `${count(depthOf(queue))} of ${count(queue.capacity)}`;
  const command = commandLine("conveyor", "queues", queue.paused ? "resume" : "pause", queue.name);
  const facts = [
    entry && ["Oldest waits for", html`<strong><${Since} at=${entry.oldest_at} /></strong>`],
    entry && [
      "Usual wait",
      entry.usual_wait === null ? "not known yet" : `${span(entry.usual_wait)} (p95)`,
    ],
    entry && [
      "In and out",
      `${rate(entry.enqueued_rate)} and ${rate(entry.completed_rate)} a second`,
    ],
    ["Bound", bound],
    queue.offers > 0 && ["Producers that wait", count(queue.offers)],
    queue.paused && [
      "Paused",
      html`${queue.paused_by && html`by <${Name} of=${queue.paused_by} />, `}
        <${When} at=${queue.paused_at} />
        ${queue.pause_reason && html`<br />“${visible(queue.pause_reason)}”`}`,
    ],
  ];
  return html`<${Card} title="Facts"><${Facts} of=${facts} /><${Cli} command=${command} /><//>`;
}

function Serving({ name }) {
  const workers = useRead(`serving ${name}`, () => getAll("workers"), 3);
  const serving = (workers.data ?? []).filter((worker) => worker.queues.includes(name));
  const busy = serving.reduce((sum, worker) => sum + worker.running, 0);
  const slots = serving.reduce((sum, worker) => sum + worker.slots, 0);
  const note = serving.length ? `${busy} of ${slots} slots busy` : "";
  return html`<${Card} title="Workers that serve it" note=${note}>
    <${Data} of=${workers} rows=${3}>
      ${() =>
        serving.length === 0
          ? html`<${Empty} icon="warn" title="No worker serves it">
              <code>${visible(commandLine("conveyor", "worker", "app:belt", "--queue", name))}</code>
            <//>`
          : html`<ul class="plainlist tight">
              ${serving.slice(0, SERVING).map(
                (worker) => html`<li key=${worker.id} class="row">
                  <${Worker} id=${worker.id} /><${State} is=${standingOf(worker)} />
                  <${Slots} busy=${worker.running} of=${worker.slots} />
                </li>`,
              )}
            </ul>
            ${
              serving.length > SERVING &&
              html`<p class="pad"><a href=${`#/workers?queue=${segment(name)}`}>All ${serving.length}</a></p>`
            }`}
    <//>
  <//>`;
}

function Failing({ name }) {
  const failures = useData("failures", { queue: name }, 5);
  return html`<${Card} title="Failures" note="of this queue">
    <${Data} of=${failures} rows=${3}>
      ${({ groups }) =>
        groups.length === 0
          ? html`<${Empty} title="Nothing fails" />`
          : html`<ul class="plainlist">
              ${groups.map(
                (group) => html`<li key=${group.fingerprint}>
                  <a href=${failureLink(group.fingerprint)}>
                    <span class="strong mono"><${Name} of=${group.type} /></span> ${visible(group.message)}
                  </a>
                  <span class="meta">
                    <span>${countOf(group.count, "attempt")} of ${countOf(group.jobs, "job")}</span>
                    <${When} at=${group.last_at} />
                  </span>
                </li>`,
              )}
            </ul>`}
    <//>
  <//>`;
}
