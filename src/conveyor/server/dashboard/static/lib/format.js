// Numbers, durations and moments as text.
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (number) => whole.format(Math.round(number));

/** A count and what is counted: 1 job, 2 jobs. */
export const countOf = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** A count in few characters: 38.2k. */
export function short(number) {
  if (number < 10000) return count(number);
  if (number < 1e6) return `${(number / 1000).toFixed(number < 99950 ? 1 : 0)}k`;
  return `${(number / 1e6).toFixed(1)}M`;
}

export function rate(number) {
  if (number >= 10) return whole.format(number);
  return number >= 0.05 ? number.toFixed(1) : "0";
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0) return "0 %";
  if (share < 0.001) return "<0.1 %";
  return share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`;
}

export function bytes(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} GB`;
  if (number >= 1e6) return `${Math.round(number / 1e6)} MB`;
  return number >= 1e3 ? `${(number / 1e3).toFixed(1)} kB` : `${number} B`;
}

/** A duration in seconds. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} m ${two(Math.floor(seconds % 60))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) {
    return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} m`;
  }
  return `${Math.round(seconds / 86400)} days`;
}

/** A duration for an axis: one unit only. */
export function brief(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 99.5) return `${Number(seconds.toFixed(1))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// How much the server's clock is ahead of this one, in seconds.
let ahead = 0;
// Less than this is the time of the message on its way.
const NOTABLE = 2;

/** The present moment by the server's clock, which all moments on the pages are from. */
export const now = () => Date.now() / 1000 + ahead;

/** Set the clock by what the server says is now. */
export function setClock(at) {
  const difference = at - Date.now() / 1000;
  ahead = Math.abs(difference) < NOTABLE ? 0 : difference;
}

const two = (number) => String(number).padStart(2, "0");

/** A time of day in the viewer's zone. */
export function clock(at, { withMs = false } = {}) {
  const date = new Date(at * 1000);
  const text = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return withMs ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

export const minute = (at) => clock(at).slice(0, 5);

export function day(at) {
  const date = new Date(at * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** A moment in the viewer's zone and in UTC. */
export const exact = (at) =>
  `${day(at)} ${clock(at)} (${new Date(at * 1000).toISOString().slice(0, 19)}Z)`;

/** The end of a job's id: what differs between jobs of the same second. */
export const tail = (id) => id.slice(-8);
