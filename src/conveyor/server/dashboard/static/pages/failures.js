// Failures by what they have in common: the groups, and one of them.
import { html } from "../lib/html.js";
import { useData } from "../lib/data.js";
import { segment } from "../lib/api.js";
import { count, span } from "../lib/format.js";
import { cut, visible } from "../lib/foreign_text.js";
import { go } from "../lib/route.js";
import { Action } from "../ui/button.js";
import { askToActOn } from "../ui/bulk.js";
import { Traceback } from "../ui/traceback.js";
import { failureLink, jobLink, jobsLink, Name, Queue, Worker } from "../ui/name.js";
import { Card, Data, Empty, Facts, Page } from "../ui/page.js";
import { State } from "../ui/state.js";
import { Table } from "../ui/table.js";
import { When } from "../ui/time.js";

const MESSAGE = 300; // characters of a message in a row

const names = (numbers) =>
  Object.keys(numbers).map((name) => html`<${Name} key=${name} of=${name} /> `);

function RetryButton({ group, ...rest }) {
  const discarded = group.became.discarded ?? 0;
  if (discarded === 0) return null;
  return html`<${Action}
    ...${rest}
    call="retry"
    icon="retryable"
    onClick=${() => askToActOn("retry", { error: group.fingerprint, state: "discarded" })}
    >Retry discarded<//
  >`;
}

const COLUMNS = [
  {
    head: "Failure",
    kind: "grow",
    cell: (group) => html`<span class="job">
      <a class="strong mono" href=${failureLink(group.fingerprint)}><${Name} of=${group.type} /></a>
      <span class="err wraps">${visible(cut(group.message, MESSAGE))}</span>
    </span>`,
  },
  { head: "Task", hide: "s", cell: (group) => names(group.tasks) },
  {
    head: "Attempts",
    isNumber: true,
    cell: (group) => html`<strong>${count(group.count)}</strong>`,
  },
  {
    head: "Discarded",
    isNumber: true,
    cell: (group) =>
      html`<a href=${jobsLink({ error: group.fingerprint, state: "discarded" })}>
        ${count(group.became.discarded ?? 0)}
      </a>`,
  },
  { head: "Queue", hide: "m", cell: (group) => names(group.queues) },
  {
    head: "First",
    isNumber: true,
    hide: "m",
    cell: (group) => html`<${When} at=${group.first_at} />`,
  },
  { head: "Last", isNumber: true, cell: (group) => html`<${When} at=${group.last_at} />` },
  {
    head: "Action",
    isHidden: true,
    hide: "s",
    kind: "end",
    cell: (group) => html`<${RetryButton} group=${group} small />`,
  },
];

export function Failures() {
  const failures = useData("failures", { limit: 200 }, 3);
  return html`<${Page}
    title="Failures"
    sub="Grouped by type, place and message. Numbers and ids within a message do not make a new group."
  >
    <${Data} of=${failures}>
      ${({ groups, attempts, limit, is_complete: isComplete }) =>
        groups.length === 0
          ? html`<${Empty} title="Nothing fails">
              No attempt of a job that is still kept has failed.
            <//>`
          : html`<${Card} kind="flush">
                <${Table}
                  caption="Groups of failures"
                  rows=${groups}
                  id=${(group) => group.fingerprint}
                  open=${(group) => go(failureLink(group.fingerprint))}
                  columns=${COLUMNS}
                />
              <//>
              <p class="pad dim">
                ${
                  isComplete
                    ? `All ${count(attempts)} failed attempts of jobs that are still kept.`
                    : `The newest ${count(limit)} failed attempts; older ones are not counted.`
                }
              </p>`}
    <//>
  <//>`;
}

export function FailurePage({ id: fingerprint }) {
  const failure = useData(`failures/${segment(fingerprint)}`, {}, 3);
  const group = failure.data?.group;
  const actions =
    group &&
    html`<a class="btn" href=${jobsLink({ error: fingerprint })}>Its jobs</a>
      <${RetryButton} group=${group} kind="main" />`;
  return html`<${Page}
    title=${group ? group.type : "Failure"}
    back=${["Failures", "#/failures"]}
    sub=${group && visible(cut(group.message, 1000))}
    actions=${actions}
  >
    <${Data} of=${failure}>
      ${({ group: shown, error, newest }) => html`<div class="grid wide">
        <div class="stack">
          <${Card} title="Where" note="the newest of them" tools=${html`<a href=${jobLink(shown.job_id)}>Its job</a>`}>
            <${Traceback} error=${error} />
          <//>
          <${Card} title="Newest attempts" kind="flush"><${Newest} attempts=${newest} /><//>
        </div>
        <${Card} title="Facts"><${Facts} of=${factsOf(shown)} /><//>
      </div>`}
    <//>
  <//>`;
}

const factsOf = (group) => [
  ["Failed attempts", count(group.count)],
  ["Jobs", html`<a href=${jobsLink({ error: group.fingerprint })}>${count(group.jobs)}</a>`],
  ["First seen", html`<${When} at=${group.first_at} />`],
  ["Last seen", html`<${When} at=${group.last_at} />`],
  ["Over", span(group.last_at - group.first_at)],
  ...Object.entries(group.became).map(([state, number]) => [
    html`<${State} is=${state} />`,
    count(number),
  ]),
  [
    "Tasks",
    Object.entries(group.tasks).map(
      ([task, number]) =>
        html`<a key=${task} href=${jobsLink({ error: group.fingerprint, task })}><${Name} of=${task} /></a> ${count(number)} `,
    ),
  ],
  [
    "Queues",
    Object.entries(group.queues).map(
      ([queue, number]) => html`<${Queue} key=${queue} name=${queue} /> ${count(number)} `,
    ),
  ],
  ["Fingerprint", html`<span class="mono">${group.fingerprint}</span>`],
];

function Newest({ attempts }) {
  return html`<${Table}
    caption="Newest attempts that failed so"
    rows=${attempts}
    id=${(each) => `${each.job_id} ${each.attempt} ${each.at}`}
    open=${(each) => go(jobLink(each.job_id))}
    columns=${[
      {
        head: "Job",
        kind: "grow",
        cell: (each) =>
          html`<a class="strong" href=${jobLink(each.job_id)}><${Name} of=${each.task} /></a>`,
      },
      { head: "Became", cell: (each) => html`<${State} is=${each.became} />` },
      { head: "Attempt", isNumber: true, hide: "s", cell: (each) => each.attempt },
      {
        head: "Worker",
        hide: "m",
        cell: (each) => each.worker && html`<${Worker} id=${each.worker} />`,
      },
      { head: "When", isNumber: true, cell: (each) => html`<${When} at=${each.at} />` },
    ]}
  />`;
}
