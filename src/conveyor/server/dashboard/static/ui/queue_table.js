// The table of queues: on the overview its short form, on its own page all of it.
import { html } from "../lib/html.js";
import { count, now, percent, rate, short, span } from "../lib/format.js";
import { go } from "../lib/route.js";
import { Action } from "./button.js";
import { Meter, Spark } from "./figures.js";
import { jobsLink, Queue, queueLink } from "./name.js";
import { pauseQueue, resumeQueue } from "./orders.js";
import { Level } from "./state.js";
import { sorted, Table } from "./table.js";
import { Since } from "./time.js";

const NONE = html`<span class="dim">0</span>`;
const ago = (at) => (at === null ? 0 : now() - at);
const usual = (queue) =>
  queue.usual_wait === null
    ? "what is usual is not known yet"
    : `${span(queue.usual_wait)} is usual`;

const COLUMNS = {
  queue: {
    head: "Queue",
    sort: (queue) => queue.name,
    cell: (queue) => html`<span class="withlevel">
      <${Level} is=${queue.level} /><${Queue} name=${queue.name} kind="strong" />
      ${queue.says && html`<span class=${`tag ${queue.level}`}>${queue.says}</span>`}
    </span>`,
  },
  waiting: {
    head: "Waiting",
    isNumber: true,
    sort: (queue) => queue.depth,
    cell: (queue) =>
      queue.capacity === null
        ? short(queue.depth)
        : html`<span class="bound">
            ${short(queue.depth)}<span class="dim"> / ${short(queue.capacity)}</span>
            <${Meter}
              value=${queue.depth}
              of=${queue.capacity}
              tone=${queue.depth >= queue.capacity ? "warn" : ""}
            />
          </span>`,
  },
  oldest: {
    head: "Oldest",
    isNumber: true,
    sort: (queue) => ago(queue.oldest_at),
    cell: (
      queue,
    ) => html`<span class=${queue.level === "bad" ? "strong" : ""} title=${usual(queue)}>
      <${Since} at=${queue.oldest_at} />
    </span>`,
  },
  running: {
    head: "Running",
    isNumber: true,
    hide: "s",
    sort: (queue) => queue.counts.running ?? 0,
    cell: (queue) => queue.counts.running || NONE,
  },
  arrive: {
    head: "In",
    title: "Jobs that arrive in a second",
    isNumber: true,
    hide: "s",
    cell: (queue) => rate(queue.enqueued_rate),
  },
  complete: {
    head: "Out",
    title: "Jobs that complete in a second",
    isNumber: true,
    hide: "s",
    cell: (queue) => rate(queue.completed_rate),
  },
  failed: {
    head: "Failed",
    title: "Attempts that failed, of those that ended in the last 10 minutes",
    isNumber: true,
    hide: "s",
    cell: (queue) =>
      html`<span class=${queue.failed_share > 0.05 ? "strong bad" : ""}>${percent(queue.failed_share)}</span>`,
  },
  discarded: {
    head: "Discarded",
    isNumber: true,
    hide: "m",
    sort: (queue) => queue.counts.discarded ?? 0,
    cell: (queue) =>
      queue.counts.discarded
        ? html`<a href=${jobsLink({ queue: queue.name, state: "discarded" })}>${count(queue.counts.discarded)}</a>`
        : NONE,
  },
  hour: {
    head: "Last hour",
    hide: "m",
    cell: (queue) =>
      html`<${Spark} data=${queue.spark} label=${`${queue.name}: completed in each minute`} />`,
  },
  action: {
    head: "Action",
    isHidden: true,
    hide: "s",
    kind: "end",
    cell: (queue) => html`<${PauseButton} queue=${queue} />`,
  },
};

const SHORT = ["queue", "waiting", "oldest", "running", "arrive", "complete", "failed", "hour"];

export function PauseButton({ queue }) {
  return queue.paused
    ? html`<${Action}
        small
        call="set_paused"
        icon="play"
        label=${`Resume ${queue.name}`}
        onClick=${() => resumeQueue(queue.name)}
        >Resume<//
      >`
    : html`<${Action}
        small
        call="set_paused"
        kind="ghost"
        icon="paused"
        label=${`Pause ${queue.name}`}
        onClick=${() => pauseQueue(queue.name, queue.depth)}
      />`;
}

export function QueueTable({ queues, isShort, sort, setSort }) {
  const columns = isShort ? SHORT.map((name) => COLUMNS[name]) : Object.values(COLUMNS);
  return html`<${Table}
    caption="Queues, those in trouble first"
    rows=${sorted(queues, columns, sort)}
    id=${(queue) => queue.name}
    open=${(queue) => go(queueLink(queue.name))}
    level=${(queue) => queue.level}
    columns=${columns}
    sort=${isShort ? undefined : sort}
    setSort=${isShort ? undefined : setSort}
  />`;
}
