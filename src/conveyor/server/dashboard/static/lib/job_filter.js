// The filter of the list of jobs: as in the page's address, as the API takes it, and as a command.
import { commandLine } from "./shell.js";

/** The fields of a filter, and what each is for. */
export const FIELDS = {
  queue: "a queue",
  state: "one or more states",
  task: "a task",
  worker: "the worker that has the job",
  error: "a group of failures",
  older: "enqueued before, like 1h",
  newer: "enqueued since, like 1h",
  text: "text in the arguments",
};
const UNITS = { s: 1, m: 60, h: 3600, d: 86400, "": 1 };

/** The fields of the filter in a query, without what is empty. */
export const filterOf = (query) =>
  Object.fromEntries(Object.keys(FIELDS).flatMap((key) => (query[key] ? [[key, query[key]]] : [])));

/** A filter in words: state:discarded queue:mail. */
export const filterWords = (filter) =>
  Object.entries(filter)
    .map(([key, value]) => `${key}:${value}`)
    .join(" ");

/** Seconds of a duration like 90, 5m or 1h; NaN if it is none. */
export function secondsOf(text) {
  const parts = /^(\d+(?:\.\d+)?)([smhd]?)$/.exec(text);
  return parts ? Number(parts[1]) * UNITS[parts[2]] : NaN;
}

function momentsOf({ older, newer }, now) {
  const ago = (text) => (text ? now - secondsOf(text) : undefined);
  const [before, after] = [ago(older), ago(newer)];
  for (const [text, moment] of [
    [older, before],
    [newer, after],
  ]) {
    if (Number.isNaN(moment)) {
      const detail = `“${text}” is no duration; write it like 90s, 5m, 1h or 2d.`;
      throw Object.assign(new Error(detail), { title: "The filter cannot be read", detail });
    }
  }
  return { enqueued_before: before, enqueued_after: after };
}

/** The parameters of GET /jobs. */
export function queryOf(filter, now) {
  const { state, older, newer, ...same } = filter;
  return { ...same, states: state, ...momentsOf(filter, now) };
}

/** The filter of POST /jobs/match and /jobs/act, fixed at a moment. */
export function bodyOf(filter, now) {
  const { state, older, newer, ...same } = filter;
  const body = { ...same, ...momentsOf(filter, now) };
  if (state) body.states = state.split(",");
  return body;
}

// `newer` has no option; `conveyor cancel` takes jobs in whatever state, and `conveyor retry` those
// that were discarded unless it is told a state.
const OPTIONS = {
  retry: new Set(["queue", "task", "state", "older", "worker", "error", "text"]),
  cancel: new Set(["queue", "task", "older", "worker", "error", "text"]),
};

/** The command that does the same, or null if the command line has no such filter. */
export function commandFor(action, filter) {
  const fields = Object.keys(filter);
  const isSame = fields.length > 0 && (action === "cancel" || "state" in filter);
  if (!isSame || !fields.every((key) => OPTIONS[action].has(key))) return null;
  const words = [];
  for (const [key, value] of Object.entries(filter)) {
    for (const one of key === "state" ? value.split(",") : [value]) words.push(`--${key}`, one);
  }
  return commandLine("conveyor", action, ...words);
}
