// The table of jobs, on their own page and wherever a few of them are listed.
import { html } from "../lib/html.js";
import { span, tail } from "../lib/format.js";
import { cut, visible } from "../lib/foreign_text.js";
import { filterOf } from "../lib/job_filter.js";
import { go, route } from "../lib/route.js";
import { jobLink, jobsLink, Name } from "./name.js";
import { State, stateOf } from "./state.js";
import { Table } from "./table.js";
import { Since, When } from "./time.js";

const NONE = html`<span class="dim">–</span>`;
const ERROR = 300; // characters of an error that a row shows

function JobCell({ job }) {
  const [kind, message] = splitError(job.error);
  return html`<span class="job one">
    <a class="strong" href=${jobLink(job.id)}><${Name} of=${job.task} /></a>${" "}
    ${job.summary && html`<span class="args"><${Name} of=${job.summary} /></span>`}
    ${job.error && html`<span class="err"><b>${kind}</b> ${message}</span>`}
    <span class="only-s meta2">
      <${State} is=${stateOf(job)} /><span class="dim"><${Name} of=${job.queue} /></span>
    </span>
  </span>`;
}

function splitError(error) {
  const text = visible(cut(error ?? "", ERROR));
  const at = text.indexOf(": ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 2)];
}

const inQueue = (queue) => jobsLink({ ...filterOf(route.value.query), queue });

function waited(job) {
  if (job.state === "available") return html`<${Since} at=${job.enqueued_at} />`;
  return job.started_at && job.attempt === 1
    ? span(Math.max(0, job.started_at - job.enqueued_at))
    : NONE;
}

function ran(job) {
  if (job.state === "running") return html`<${Since} at=${job.started_at} />`;
  return job.started_at && job.final_at ? span(job.final_at - job.started_at) : NONE;
}

const moment = (job) =>
  job.state === "scheduled" || job.state === "retryable"
    ? job.run_at
    : job.final_at || job.enqueued_at;

const COLUMNS = [
  { head: "State", hide: "s", cell: (job) => html`<${State} is=${stateOf(job)} />` },
  { head: "Job", kind: "grow", cell: (job) => html`<${JobCell} job=${job} />` },
  {
    head: "Queue",
    hide: "s",
    cell: (job) =>
      html`<a class="quiet" href=${inQueue(job.queue)}><${Name} of=${job.queue} /></a>`,
  },
  {
    head: "Attempt",
    isNumber: true,
    hide: "m",
    cell: (job) =>
      job.attempt ? html`${job.attempt}<span class="dim">/${job.options.retries + 1}</span>` : NONE,
  },
  { head: "Waited", isNumber: true, hide: "m", cell: waited },
  { head: "Ran", isNumber: true, hide: "m", cell: ran },
  { head: "When", isNumber: true, cell: (job) => html`<${When} at=${moment(job)} />` },
  {
    head: "Id",
    hide: "m",
    kind: "mono dim",
    cell: (job) => html`<span title=${job.id}>${tail(job.id)}</span>`,
  },
];

/** `selection` { has(id), toggle(id), isAll } adds a column of boxes. */
export function JobTable({ jobs, selection, caption = "Jobs", without = [] }) {
  const box = selection && {
    head: "Select",
    isHidden: true,
    kind: "check",
    cell: (job) => html`<input
      type="checkbox"
      aria-label=${`Select job ${tail(job.id)}`}
      checked=${selection.isAll || selection.has(job.id)}
      onChange=${() => selection.toggle(job.id)}
    />`,
  };
  const shown = COLUMNS.filter((column) => !without.includes(column.head));
  return html`<${Table}
    caption=${caption}
    rows=${jobs}
    id=${(job) => job.id}
    open=${(job) => go(jobLink(job.id))}
    isSelected=${(job) => selection?.isAll || selection?.has(job.id)}
    columns=${[box, ...shown]}
  />`;
}
