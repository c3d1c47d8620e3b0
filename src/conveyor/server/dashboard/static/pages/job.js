// One job: why it waits or how it is stopped, its life, its failure, its output and its facts.
import { html, useEffect, useState } from "../lib/html.js";
import { getAll, get, getExact, segment } from "../lib/api.js";
import { useData, useRead } from "../lib/data.js";
import { bytes, clock, percent, span } from "../lib/format.js";
import { completeJob } from "../lib/jobs.js";
import { visible } from "../lib/foreign_text.js";
import { commandLine } from "../lib/shell.js";
import { watchJob } from "../lib/live.js";
import { Action, Button, Cli, Copy } from "../ui/button.js";
import { Icon } from "../ui/icon.js";
import { askToCancel, askToCopy, askToDelete, askToRetry } from "../ui/job_actions.js";
import { Json } from "../ui/json.js";
import { failureLink, jobsLink, Name, pageOf, Queue, Worker } from "../ui/name.js";
import { downloadFile, Output } from "../ui/output.js";
import { Card, Data, Facts, Page } from "../ui/page.js";
import { maySeeStacks, StackDump } from "../ui/stack_dump.js";
import { FINAL, State, stateOf } from "../ui/state.js";
import { StopLadder } from "../ui/stop_ladder.js";
import { Timeline } from "../ui/timeline.js";
import { Traceback } from "../ui/traceback.js";
import { When } from "../ui/time.js";

const DOWNLOADABLE = 256e6; // bytes; a larger file would fill the browser's memory

export function JobPage({ id }) {
  const path = `jobs/${segment(id)}`;
  const read = useRead(path, async () => completeJob(await getExact(path, "result")));
  const job = read.data;
  const every = job && FINAL.has(job.state) ? 5 : 1;
  const attempts = useRead(`attempts ${id}`, () => readAttempts(path), every);
  useEffect(() => {
    watchJob(id);
    return () => watchJob("");
  }, [id]);
  const back = ["Jobs", job ? jobsLink({ queue: job.queue, state: job.state }) : "#/jobs"];
  const sub =
    job &&
    html`<span class="mono">${visible(job.id)}</span><${Copy} text=${job.id} what="id" />
      <span class="dim">in</span> <${Queue} name=${job.queue} />`;
  return html`<${Page}
    title=${job ? job.task : "Job"}
    back=${back}
    status=${job && html`<span class="statebig"><${State} is=${stateOf(job)} /></span>`}
    sub=${sub}
    actions=${job && html`<${Actions} job=${job} />`}
  >
    <${Data} of=${read}>
      ${(shown) => html`<${Why} path=${path} job=${shown} attempts=${attempts.data} />
        <div class="grid wide">
          <${Story} job=${shown} attempts=${attempts} /><${Side} job=${shown} path=${path} />
        </div>`}
    <//>
  <//>`;
}

/** The newest page of attempts, or all of a job that has few. */
const readAttempts = (path) => getAll(`${path}/attempts`, { limit: 200 }, 1000);

function Actions({ job }) {
  const isFinal = FINAL.has(job.state);
  return html`${
    (isFinal || job.state === "retryable") &&
    html`<${Action} call="retry" kind=${isFinal ? "main" : ""} icon="retryable" onClick=${() => askToRetry(job)}>
      Retry
    <//>`
  }
    <${Action} call="copy_job" onClick=${() => askToCopy(job)}>Duplicate<//>
    ${
      isFinal
        ? html`<${Action} call="delete" kind="harm" onClick=${() => askToDelete(job)}>Delete<//>`
        : !job.cancel_requested_at &&
          html`<${Action} call="cancel" kind="harm" icon="cancelled" onClick=${() => askToCancel(job)}>
          Cancel
        <//>`
    }`;
}

const TITLES = { running: "What it does", cancelled: "How it ended", discarded: "How it ended" };

/** Why it waits or how it ended, unless another card says the same. */
function Why({ path, job, attempts = [] }) {
  const why = useData(`${path}/why`);
  const isTold =
    job.state === "completed" || (job.state === "discarded" && attempts.some((each) => each.error));
  if (!why.data || isTold) return null;
  return html`<section class="why" aria-label="Why">
    <${Icon} name="info" />
    <div>
      <h2>${TITLES[job.state] ?? "Why it waits"}</h2>
      <p>${why.data.parts.map(WhyPart)}</p>
    </div>
  </section>`;
}

function WhyPart({ text, kind, name }, at) {
  // Commands stand between backticks, as on a terminal.
  const shown = visible(text.replaceAll("`", ""));
  if (kind === "command") return html`<code key=${at}>${shown}</code>`;
  const page = pageOf(kind, name);
  return page
    ? html`<a key=${at} href=${page}>${shown}</a>`
    : html`<span key=${at}>${shown}</span>`;
}

function Story({ job, attempts }) {
  const list = attempts.data ?? [];
  const failed = list.findLast((each) => each.error);
  const note = html`enqueued <${When} at=${job.enqueued_at} />
    ${job.final_at && html`, ended <${When} at=${job.final_at} />`}`;
  return html`<div class="stack">
    ${
      (job.stopping.length > 0 || job.cancel_requested_at) &&
      job.state !== "completed" &&
      html`<${StopLadder} job=${job} />`
    }
    ${
      failed &&
      html`<${Card}
      title=${html`<span class="mono">${visible(failed.error.type)}</span>`}
      note=${`attempt ${failed.attempt}`}
      kind="bad"
      tools=${failed.fingerprint && html`<a href=${failureLink(failed.fingerprint)}>All that fail like this</a>`}
    >
      <${Traceback} error=${failed.error} />
    <//>`
    }
    <${Card} title="Life" note=${note}>
      <${Data} of=${attempts} rows=${2}>${(all) => html`<${Timeline} job=${job} attempts=${all} />`}<//>
    <//>
    ${job.attempt > 0 && html`<${Output} key=${job.id} job=${job} />`}
  </div>`;
}

function Side({ job, path }) {
  return html`<div class="stack">
    ${job.progress && html`<${ProgressCard} progress=${job.progress} />`}
    <${Arguments} path=${path} />
    ${
      job.state === "completed" &&
      job.result !== null &&
      html`<${Card} title="Result"><${Json} value=${job.result} label="Result" /><//>`
    }
    <${Card} title="Facts"><${Facts} of=${factsOf(job)} /><//>
    ${
      job.state === "running" &&
      maySeeStacks() &&
      html`<${Card} title="What it does now">
      <div class="pad"><${StackDump} id=${job.id} /></div>
    <//>`
    }
    <${Files} path=${path} job=${job} />
    <${Cli} command=${commandLine("conveyor", "show", job.id)} />
  </div>`;
}

function ProgressCard({ progress: { done, total, message } }) {
  const text = total ? percent(done / total) : String(done);
  return html`<${Card} title="Progress">
    <div class="progress">
      <progress value=${total ? done : undefined} max=${total || undefined} aria-label="Progress" />
      <span>${text}${message && ` · ${visible(message)}`}</span>
    </div>
  <//>`;
}

function Arguments({ path }) {
  const [isWhole, setWhole] = useState(false);
  const whole = isWhole ? "true" : "";
  const args = useRead(`args ${path} ${whole}`, () => getExact(`${path}/args`, "args", { whole }), 0);
  const note = args.data?.masked.length > 0 ? "secrets are masked by rule" : "";
  return html`<${Card} title="Arguments" note=${note}>
    <${Data} of=${args} rows=${3}>
      ${(shown) =>
        shown.omitted
          ? html`<p class="pad">
              <span class="dim">${bytes(shown.size)} of JSON.</span>${" "}
              <${Button} small onClick=${() => setWhole(true)}>Load them<//>
            </p>`
          : html`<${ArgumentList} args=${shown.args} />`}
    <//>
  <//>`;
}

function ArgumentList({ args }) {
  const isEmpty = args !== null && Object.keys(args).length === 0;
  return isEmpty
    ? html`<p class="pad dim">none</p>`
    : html`<${Json} value=${args} label="Arguments" />`;
}

const moment = (at) => html`${clock(at)} <span class="dim"><${When} at=${at} /></span>`;

const factsOf = ({ options, ...job }) => [
  ["Attempt", job.attempt ? `${job.attempt} of ${options.retries + 1}` : "none yet"],
  ["Worker", job.worker ? html`<${Worker} id=${job.worker} />` : "–"],
  ["Priority", job.priority],
  ["Enqueued", moment(job.enqueued_at)],
  (job.state === "scheduled" || job.state === "retryable") && ["Due", moment(job.run_at)],
  job.started_at && ["Started", moment(job.started_at)],
  job.final_at && ["Ended", moment(job.final_at)],
  ["Timeout", options.timeout ? span(options.timeout) : "none"],
  ["Grace", span(options.grace)],
  job.crashes > 0 && ["Crashes", `${job.crashes} of ${options.crash_limit}`],
  options.requires.length > 0 && ["Requires", visible(options.requires.join(", "))],
  options.key && ["Unique key", html`<span class="mono"><${Name} of=${options.key} /></span>`],
  options.expires_at && ["Expires", html`<${When} at=${options.expires_at} />`],
  ...Object.entries(options.meta).map(([name, value]) => [
    visible(name),
    visible(typeof value === "string" ? value : JSON.stringify(value)),
  ]),
  job.damage && ["Damage", html`<span class="bad">${visible(job.damage)}</span>`],
];

function Files({ path, job }) {
  const files = useRead(`files ${job.id} ${job.state}`, () => get(`${path}/files`), 5);
  if (!files.data?.length) return null;
  return html`<${Card} title="Files">
    <ul class="plainlist">
      ${files.data.map(
        (file) => html`<li key=${`${file.kind} ${file.name} ${file.lease}`}>
          <span>
            <span class="strong mono"><${Name} of=${file.name} /></span> <span class="tag">${file.kind}</span>
          </span>
          <span class="meta">
            <span>${bytes(file.size)}</span>
            ${
              file.size <= DOWNLOADABLE
                ? html`<button type="button" class="linkish" onClick=${() => downloadFile(file)}>Download</button>`
                : html`<code>${visible(commandLine("conveyor", "artifacts", job.id, "get", file.name))}</code>`
            }
            <span class="mono" title=${file.digest}>${file.digest.slice(0, 12)}</span>
          </span>
        </li>`,
      )}
    </ul>
  <//>`;
}
