// The life of a job: all its attempts on one axis of time. Waiting is light, running is solid.
import { html } from "../lib/html.js";
import { clock, now, span } from "../lib/format.js";
import { second } from "../lib/live.js";
import { visible } from "../lib/foreign_text.js";
import { Worker } from "./name.js";
import { State } from "./state.js";
import { Since } from "./time.js";

const TICKS = [0, 0.25, 0.5, 0.75, 1];
const BARS = { completed: "ok", running: "run", cancelled: "off" };

/** attempts: as GET /jobs/{id}/attempts answers them, oldest first. */
export function Timeline({ job, attempts }) {
  second.value;
  const begin = job.enqueued_at;
  const end = Math.max(begin + 0.001, endOf(job));
  const place = (at) => Math.max(0, Math.min(100, ((at - begin) / (end - begin)) * 100));
  const rows = attempts.length ? attempts : [{ attempt: 0, due_at: begin, outcome: job.state }];
  return html`<div class="timeline">
    <div class="axis" aria-hidden="true">
      ${TICKS.map(
        (part) => html`<span key=${part} style=${{ left: `${part * 100}%` }}>
          ${part === 0 ? clock(begin) : `+${span((end - begin) * part)}`}
        </span>`,
      )}
    </div>
    <ol>
      ${rows.map(
        (each, at) => html`<li key=${`${each.attempt} ${each.lease}`}>
          <div class="lab">
            <span class="strong">${each.attempt ? `Attempt ${each.attempt}` : "Waits"}</span>
            <${State} is=${stateOfAttempt(job, each)} />
          </div>
          <${Track} attempt=${each} next=${rows[at + 1]} job=${job} place=${place} />
          <${Said} attempt=${each} />
        </li>`,
      )}
    </ol>
  </div>`;
}

function endOf(job) {
  if (job.final_at) return job.final_at;
  return job.state === "retryable" || job.state === "scheduled"
    ? Math.max(now(), job.run_at)
    : now();
}

const stateOfAttempt = (job, { outcome }) =>
  outcome === "running" && job.cancel_requested_at ? "cancelling" : outcome;

function Track({ attempt, next, job, place }) {
  const bar = (from, to, kind, title) => html`<i
    class=${`seg-${kind}`}
    style=${{ left: `${place(from)}%`, width: `${Math.max(0.35, place(to) - place(from))}%` }}
    title=${title}
  />`;
  const { started_at: started, due_at: due, outcome } = attempt;
  if (!started) {
    return html`<div class="track" aria-hidden="true">${bar(due, now(), "wait", "waits")}</div>`;
  }
  const ended = attempt.ended_at ?? now();
  const until = next ? next.due_at : job.state === "retryable" ? job.run_at : null;
  const asked = job.cancel_requested_at;
  return html`<div class="track" aria-hidden="true">
    ${bar(due, started, "wait", `waited ${span(started - due)}`)}
    ${bar(started, ended, BARS[outcome] ?? "bad", `ran ${span(ended - started)}`)}
    ${until && bar(ended, until, "pause", `next attempt after ${span(until - ended)}`)}
    ${asked && !next && html`<b class="mark" style=${{ left: `${place(asked)}%` }} title="asked to stop" />`}
  </div>`;
}

function Said({ attempt }) {
  const { started_at: started, ended_at: ended, due_at: due, worker, error } = attempt;
  if (!started) return html`<p class="say">waits <${Since} at=${due} /></p>`;
  return html`<p class="say">
    waited ${span(attempt.waited ?? started - due)} · ran${" "}
    ${ended ? span(ended - started) : html`<${Since} at=${started} />`}
    ${worker && html` in <${Worker} id=${worker} />`}
    ${error && html` · <span class="bad">${visible(error.type)}</span>`}
  </p>`;
}
