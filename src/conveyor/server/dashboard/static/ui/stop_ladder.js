// How a job is being stopped: the steps that were taken, and what comes next and when.
import { html } from "../lib/html.js";
import { clock, exact, now, span } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { second } from "../lib/live.js";
import { Action } from "./button.js";
import { Icon } from "./icon.js";
import { askForForce } from "./job_actions.js";
import { Card } from "./page.js";

export function StopLadder({ job }) {
  second.value;
  const isOver = job.state !== "running";
  const steps = job.stopping;
  const asked = job.cancel_requested_at ?? steps[0]?.at;
  const next = isOver ? [] : upcoming(job, asked);
  const tools =
    !isOver &&
    !job.cancel_forced &&
    html`<${Action} small call="cancel" kind="harm" icon="stop" onClick=${() => askForForce(job.id)}>Force<//>`;
  return html`<${Card}
    title=${isOver ? "How it was stopped" : "How it is being stopped"}
    kind=${isOver ? "" : "attention"}
    note=${isOver ? "" : next[0]?.note}
    tools=${tools}
  >
    <ol class="ladder">
      ${steps.map(
        (step, at) => html`<${Step}
          key=${at}
          kind="done"
          icon="completed"
          text=${visible(step.text)}
          at=${html`<time title=${exact(step.at)}>${at ? `+${span(step.at - asked)}` : clock(step.at)}</time>`}
        />`,
      )}
      ${next.map((step, at) => html`<${Step} key=${step.text} kind=${at ? "" : "next"} ...${step} />`)}
    </ol>
  <//>`;
}

function Step({ kind, icon, text, at }) {
  return html`<li class=${kind}>
    <${Icon} name=${icon} />
    <span class="what">${text}<span class="sr">${kind === "done" ? ", done" : ", to come"}</span></span>
    <span class="at">${at}</span>
  </li>`;
}

/** What follows for a job that still runs. Only processes can be killed. */
function upcoming(job, asked) {
  const last = { icon: "available", text: "cancelled, once nothing of it runs any more", at: "" };
  if (job.cancel_forced) return [{ ...last, note: "its grace is left out" }];
  const grace = job.options.grace;
  const left = asked + grace - now();
  const hasProcesses = job.stopping.some(({ text }) => text.startsWith("SIGTERM"));
  if (!hasProcesses) {
    const text = "its code ends by itself: a coroutine or a thread cannot be killed";
    return [{ icon: "scheduled", text, at: "" }, last];
  }
  const step = {
    icon: "scheduled",
    text: `SIGKILL to what still runs, when its grace of ${span(grace)} is over`,
    at: left > 0 ? html`<strong>in ${Math.ceil(left)} s</strong>` : "now",
    note: left > 0 ? `${Math.ceil(left)} s of its grace are left` : "its grace is over",
  };
  return [step, last];
}
