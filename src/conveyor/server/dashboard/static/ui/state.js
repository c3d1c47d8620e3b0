// States and levels: always a shape, a word and a colour, so that none depends on the colour.
import { html } from "../lib/html.js";
import { Icon, RunningIcon } from "./icon.js";

const TONES = {
  scheduled: "wait",
  available: "wait",
  running: "run",
  retryable: "warn",
  completed: "ok",
  cancelled: "off",
  discarded: "bad",
  cancelling: "warn",
  silent: "bad",
  draining: "warn",
  quiet: "warn",
  sick: "warn",
  busy: "run",
  working: "run",
  idle: "off",
  paused: "warn",
};
const SHAPES = {
  silent: "bad",
  sick: "warn",
  draining: "down",
  quiet: "paused",
  idle: "available",
};
const RUNNING = new Set(["running", "working", "busy"]);

export const STATES = [
  "available",
  "running",
  "retryable",
  "scheduled",
  "completed",
  "cancelled",
  "discarded",
];
export const FINAL = new Set(["completed", "cancelled", "discarded"]);

export function State({ is, text }) {
  const icon = RUNNING.has(is)
    ? html`<${RunningIcon} isFull=${is === "busy"} />`
    : html`<${Icon} name=${SHAPES[is] || is} />`;
  return html`<span class=${`state ${TONES[is] || ""}`}>${icon}<span>${text || is}</span></span>`;
}

/** The state of a job, with one more: it runs, and was asked to stop. */
export const stateOf = (job) =>
  job.state === "running" && job.cancel_requested_at ? "cancelling" : job.state;

/** ok, warn, bad or info. The sentence beside it says the same. */
export const Level = ({ is }) => html`<${Icon} name=${is} tone=${is} />`;
