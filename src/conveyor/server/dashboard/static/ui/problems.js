// What is wrong and because of what, in the server's sentences, with the actions beside them.
import { html } from "../lib/html.js";
import { visible } from "../lib/foreign_text.js";
import { link } from "../lib/route.js";
import { Action, Copy } from "./button.js";
import { askForForce } from "./job_actions.js";
import { jobLink, jobsLink, queueLink, Subject, workerLink } from "./name.js";
import { pauseQueue, removeWorker, resumeQueue, resumeWorker } from "./orders.js";
import { Level } from "./state.js";

const SEEN = {
  see_queue: queueLink,
  see_jobs: (queue) => jobsLink({ queue, state: "available", order: "oldest" }),
  see_worker: workerLink,
  see_workers: (queue) => link("workers", { queue }),
  see_job: jobLink,
  see_scaler: () => link("scaler"),
};

const DONE = {
  pause_queue: { call: "set_paused", icon: "paused", run: pauseQueue },
  resume_queue: { call: "set_paused", icon: "play", run: resumeQueue },
  resume_worker: { call: "order", icon: "play", run: resumeWorker },
  remove_worker: { call: "dismiss", kind: "harm", run: removeWorker },
  force_cancel: { call: "cancel", kind: "harm", icon: "stop", run: askForForce },
};

export function Problem({ problem }) {
  const { level, subject, claim, because, actions } = problem;
  return html`<li class=${`problem ${level}`}>
    <${Level} is=${level} />
    <div>
      <p class="claim"><${Subject} ...${subject} /> <span>${visible(claim)}</span></p>
      ${because.length > 0 && html`<p class="because">${because.map(reason)}.</p>`}
    </div>
    <div class="acts">
      ${actions.map((action) => html`<${ProblemAction} key=${action.label} action=${action} />`)}
    </div>
  </li>`;
}

function reason({ subject, text }, at) {
  const begin = at ? "; " : "Because ";
  const clause = visible(text).replace(/\.$/, "");
  return subject
    ? html`<span key=${at}>${begin}<${Subject} ...${subject} /> ${clause}</span>`
    : html`<span key=${at}>${begin}${clause}</span>`;
}

function ProblemAction({ action }) {
  const { kind, label, target, command } = action;
  const page = SEEN[kind];
  if (page) return html`<a class="btn small" href=${page(target)}>${label}</a>`;
  const done = DONE[kind];
  if (done) {
    return html`<${Action}
      small
      call=${done.call}
      icon=${done.icon}
      kind=${done.kind}
      onClick=${() => done.run(target)}
      >${label}<//
    >`;
  }
  // An action of a newer server, or one that only the command line has.
  return command
    ? html`<span class="cli"><code>${visible(command)}</code><${Copy} text=${command} what="command" /></span>`
    : null;
}
