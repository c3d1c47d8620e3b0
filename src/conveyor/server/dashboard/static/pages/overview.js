// The overview: one verdict, why, and what to do; then the numbers that prove it.
import { html } from "../lib/html.js";
import { may } from "../lib/api.js";
import { useData } from "../lib/data.js";
import { count, countOf, percent, rate, short, span } from "../lib/format.js";
import { completeJob } from "../lib/jobs.js";
import { visible } from "../lib/foreign_text.js";
import { readableRate, seriesOf } from "../lib/history.js";
import { link, route } from "../lib/route.js";
import { Choice } from "../ui/button.js";
import { Meter, Spark } from "../ui/figures.js";
import { HistoryCharts } from "../ui/history_charts.js";
import { failureLink, jobLink, Name } from "../ui/name.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { Problem } from "../ui/problems.js";
import { QueueTable } from "../ui/queue_table.js";
import { Level, State, stateOf } from "../ui/state.js";
import { Since, When } from "../ui/time.js";

const PERIODS = [
  [60, "1 h"],
  [360, "6 h"],
  [1440, "24 h"],
];
const SHOWN = 10;

export function Overview() {
  const minutes = Number(route.value.query.minutes) || 60;
  const overview = useData("overview", { minutes, queues: SHOWN });
  const options = PERIODS.map(([value, name]) => [
    value,
    name,
    link("overview", { minutes: value === 60 ? "" : value }),
  ]);
  const choice = html`<${Choice} label="Time shown" options=${options} current=${minutes} />`;
  return html`<${Page} title="Overview" actions=${choice}>
    <${Data} of=${overview} rows=${12}>
      ${(shown) => html`<${Verdict} of=${shown} />
        <${Tiles} of=${shown} />
        <${HistoryCharts}
          history=${shown.history}
          marks=${shown.marks}
          unit=${shown.history.step === 60 ? "a minute" : `in ${span(shown.history.step)}`}
          isOfAllQueues
        />
        <div class="grid wide loose">
          <${Card}
            title="Queues"
            note="those in trouble first"
            tools=${html`<a href="#/queues">All ${count(shown.queues_total)}</a>`}
          >
            ${
              shown.queues.length
                ? html`<${QueueTable} queues=${shown.queues} isShort />`
                : html`<${Empty} title="There is no queue yet">
                  A queue exists from its first job: <code>conveyor enqueue TASK</code>
                <//>`
            }
          <//>
          <div class="stack">
            <${Failures} />
            <${Longest} jobs=${shown.longest.map(completeJob)} />
            ${may("actions") && html`<${ByHand} />`}
          </div>
        </div>`}
    <//>
  <//>`;
}

function Verdict({ of: { verdict, problems } }) {
  return html`<section class=${`verdict ${verdict.level}`} aria-label="State of the system">
    <h2>
      <${Level} is=${verdict.level} />${visible(verdict.claim)}
      <span class="note">${visible(verdict.note)}</span>
    </h2>
    ${
      problems.length > 0 &&
      html`<ul>
      ${problems.map((each) => html`<${Problem} key=${each.key} problem=${each} />`)}
    </ul>`
    }
  </section>`;
}

function Tiles({ of: shown }) {
  const drawn = seriesOf(shown.history);
  const done = readableRate(shown.completed_rate);
  const came = readableRate(shown.enqueued_rate);
  const more = shown.enqueued_rate - shown.completed_rate;
  const grows = more > 0.15 * shown.completed_rate && shown.waiting > 0 && more > 0.1;
  const isBad = shown.verdict.level === "bad";
  const isFailing = shown.failed_share > Math.max(0.05, 1.5 * (shown.failed_usual ?? 0));
  return html`<section class="tiles" aria-label="Now">
    <${Tile} href="#/jobs?state=completed" name="Completed" value=${rate(done.value)} unit=${done.unit}>
      ${rate(came.value)} ${came.unit} arrive${grows && html`, <strong class="warn">more than end</strong>`}
      <${Spark} data=${drawn.completed} label="Completed jobs over time" width=${120} height=${30} />
    <//>
    <${Tile}
      href="#/jobs?state=available&order=oldest"
      name="Waiting"
      value=${short(shown.waiting)}
      unit=${shown.later ? `and ${short(shown.later)} later` : ""}
    >
      ${
        shown.oldest_at === null
          ? "none waits"
          : html`oldest for <strong class=${isBad ? "bad" : ""}><${Since} at=${shown.oldest_at} /></strong>`
      }
      <${Spark}
        data=${drawn.worst.map(Number)}
        tone=${isBad ? "bad" : ""}
        label="Waiting time of the worst queue over time"
        width=${120}
        height=${30}
      />
    <//>
    <${Tile} href="#/workers" name="Running" value=${count(shown.running)} unit=${`of ${count(shown.slots)} slots`}>
      ${countOf(shown.workers, "worker")} on ${countOf(shown.hosts, "host")}
      <${Meter} value=${shown.running} of=${shown.slots} />
    <//>
    <${Tile} href="#/failures" name="Failing" value=${percent(shown.failed_share)} unit="of attempts">
      ${shown.failed_usual === null ? "none ended lately" : `${percent(shown.failed_usual)} in the time shown`}
      <${Spark}
        data=${drawn.failed}
        tone=${isFailing ? "bad" : ""}
        label="Failed attempts over time"
        width=${120}
        height=${30}
      />
    <//>
  </section>`;
}

function Tile({ name, value, unit, href, children }) {
  const [note, figure] = [children.slice(0, -1), children.at(-1)];
  return html`<a class="tile" href=${href}>
    <span class="name">${name}</span>
    <span class="big">${value}${unit && html` <small>${unit}</small>`}</span>
    <span class="note">${note}</span>
    ${figure}
  </a>`;
}

function Failures() {
  const failures = useData("failures", { limit: 5 }, 5);
  return html`<${Card} title="Failures" tools=${html`<a href="#/failures">All</a>`}>
    <${Data} of=${failures} rows=${3}>
      ${({ groups }) =>
        groups.length === 0
          ? html`<${Empty} title="Nothing fails" />`
          : html`<ul class="plainlist">
              ${groups.slice(0, 5).map(
                (group) => html`<li key=${group.fingerprint}>
                  <a href=${failureLink(group.fingerprint)}>
                    <span class="strong mono"><${Name} of=${group.type} /></span> ${visible(group.message)}
                  </a>
                  <span class="meta">
                    <span>${countOf(group.count, "attempt")}</span>
                    <span><${Name} of=${Object.keys(group.tasks)[0] ?? ""} /></span>
                    <${When} at=${group.last_at} />
                  </span>
                </li>`,
              )}
            </ul>`}
    <//>
  <//>`;
}

function Longest({ jobs }) {
  return html`<${Card} title="Running longest">
    ${
      jobs.length === 0
        ? html`<${Empty} title="Nothing runs" />`
        : html`<ul class="plainlist">
          ${jobs.map(
            (job) => html`<li key=${job.id}>
              <a href=${jobLink(job.id)}><span class="strong"><${Name} of=${job.task} /></span></a>
              <span class="meta">
                <${State} is=${stateOf({ ...job, state: "running" })} /><${Since} at=${job.started_at} />
                ${job.worker && html`<${Name} of=${job.worker} />`}
              </span>
            </li>`,
          )}
        </ul>`
    }
  <//>`;
}

function ByHand() {
  const audit = useData("audit", { limit: 4 }, 5);
  return html`<${Card} title="Done by hand" tools=${html`<a href="#/audit">Audit</a>`}>
    <${Data} of=${audit} rows=${2}>
      ${(entries) =>
        entries.length === 0
          ? html`<${Empty} title="Nothing yet" />`
          : html`<ul class="plainlist">
              ${entries.map(
                (entry) => html`<li key=${entry.seq}>
                  <span><strong><${Name} of=${entry.who} /></strong> ${entry.what} <${Name} of=${entry.subject} /></span>
                  <span class="meta">
                    <${When} at=${entry.at} />
                    ${entry.reason && html`<span>“${visible(entry.reason)}”</span>`}
                  </span>
                </li>`,
              )}
            </ul>`}
    <//>
  <//>`;
}
