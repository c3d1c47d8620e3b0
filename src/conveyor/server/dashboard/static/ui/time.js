// Moments and durations that stay true while the page is open.
import { html, signal } from "../lib/html.js";
import { clock, day, exact, now, span } from "../lib/format.js";
import { second } from "../lib/live.js";

/** Whether moments are shown as times of day instead of "3 min ago". */
export const showsExact = signal(false);

const NONE = html`<span class="dim">–</span>`;

/** A moment; the exact one is its title. */
export function When({ at }) {
  second.value;
  if (at === null || at === undefined) return NONE;
  const date = new Date(at * 1000);
  return html`<time datetime=${date.toISOString()} title=${exact(at)}>${momentText(at)}</time>`;
}

function momentText(at) {
  if (showsExact.value) {
    return day(at) === day(now()) ? clock(at) : `${day(at).slice(5)} ${clock(at)}`;
  }
  const ago = now() - at;
  if (ago < -0.9) return `in ${span(-ago)}`;
  return ago < 2 ? "now" : `${span(ago)} ago`;
}

/** How long something has lasted. */
export function Since({ at }) {
  second.value;
  if (at === null || at === undefined) return NONE;
  const date = new Date(at * 1000).toISOString();
  return html`<time datetime=${date} title=${`since ${exact(at)}`}>
    ${span(Math.max(0, now() - at))}
  </time>`;
}
