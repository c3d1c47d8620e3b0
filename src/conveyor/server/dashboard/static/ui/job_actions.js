// What can be done to one job: cancel, force, retry, delete, or enqueue a copy.
import { html, useState } from "../lib/html.js";
import { getExact, post, postText, remove, segment } from "../lib/api.js";
import { exactText } from "../lib/exact_json.js";
import { span, tail } from "../lib/format.js";
import { commandLine } from "../lib/shell.js";
import { ask, askAfter } from "./dialog.js";
import { go } from "../lib/route.js";
import { jobLink } from "./name.js";

export const cancelJob = (id, reason, force = false) =>
  post(`jobs/${segment(id)}/cancel`, { reason: reason || "cancelled from the dashboard", force });
export const retryJob = (id, reason) => post(`jobs/${segment(id)}/retry`, { reason });

export function askToCancel(job) {
  const running = html`It is asked to stop, and has its grace of ${span(job.options.grace)}
    to clean up. It counts as cancelled once nothing of it runs any more.`;
  ask({
    call: "cancel",
    title: "Cancel this job?",
    yes: "Cancel the job",
    isHarmful: true,
    body: html`<p>
      ${job.state === "running" ? running : "It is cancelled at once: it does not run."}
    </p>`,
    command: commandLine("conveyor", "cancel", job.id),
    run: (reason) => cancelJob(job.id, reason),
    done: job.state === "running" ? "The job is asked to stop." : "The job is cancelled.",
  });
}

export function askForForce(id) {
  ask({
    call: "cancel",
    title: "Leave out the rest of its grace?",
    yes: "Force it",
    isHarmful: true,
    body: html`<p>
      Its processes get SIGKILL at once, and cannot finish what they write. A thread cannot be killed:
      it stops when its code does.
    </p>`,
    command: commandLine("conveyor", "cancel", "--force", id),
    run: (reason) => cancelJob(id, reason, true),
    done: "Its grace is over.",
  });
}

export function askToRetry(job) {
  ask({
    call: "retry",
    title: "Retry this job?",
    yes: "Retry the job",
    body: html`<p>
      It becomes available now, and starts again from its first attempt. Its history and output stay.
    </p>`,
    command: commandLine("conveyor", "retry", job.id),
    run: (reason) => retryJob(job.id, reason),
    done: "The job runs again.",
  });
}

export function askToDelete(job) {
  ask({
    call: "delete",
    title: "Delete this job?",
    yes: "Delete the job",
    isHarmful: true,
    body: html`<p>The job, its output, history and files are gone. This cannot be undone.</p>`,
    command: commandLine("conveyor", "delete", job.id),
    run: async (reason) => {
      await remove(`jobs/${segment(job.id)}`, { reason });
      go("#/jobs");
    },
    done: `Job ${tail(job.id)} is deleted.`,
  });
}

export const askToCopy = (job) =>
  askAfter(async () => {
    const path = `jobs/${segment(job.id)}`;
    const stored = await getExact(`${path}/args`, "args", { whole: "true" });
    const original = exactText(stored.args, 2);
    const edited = { text: original };
    return {
      call: "copy_job",
      title: "Enqueue a copy",
      yes: "Enqueue",
      needsNoReason: true,
      body: () => html`<${CopyForm} edited=${edited} />`,
      command: commandLine("conveyor", "enqueue", job.task, "--queue", job.queue, "--args", "…"),
      run: async () => {
        // Arguments that nobody edited are copied by the server, as they are stored.
        const body = edited.text === original ? "{}" : `{"args": ${checked(edited.text)}}`;
        const { id } = await postText(`${path}/copy`, body);
        go(jobLink(id));
      },
      done: "A copy is enqueued.",
    };
  });

/** The text, if it is JSON. It is sent as it was typed: parsing it would round its numbers. */
function checked(text) {
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw Object.assign(error, { title: "The arguments are not JSON", detail: error.message });
  }
}

function CopyForm({ edited }) {
  const [text, setText] = useState(edited.text);
  edited.text = text;
  return html`<p>
      A new job of the same task with these arguments, which you can change. Masked values stay as
      they are stored.
    </p>
    <label class="field">
      Arguments, as JSON
      <textarea
        name="args"
        rows="8"
        spellcheck=${false}
        value=${text}
        onInput=${(event) => setText(event.target.value)}
      />
    </label>`;
}
