// Icons: one path each, drawn on 16 by 16. They never stand for a word that is not there.
import { html } from "../lib/html.js";

const CIRCLE = "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4Z";
const OCTAGON = "M5.2 2.2h5.6l3 3v5.6l-3 3H5.2l-3-3V5.2z";
const TRIANGLE = "M8 2.2l6.2 11H1.8z";

const PATHS = {
  // states
  scheduled: `${CIRCLE}M8 5v3.2l2.2 1.4`,
  available: CIRCLE,
  retryable: "M13 5.5A5.6 5.6 0 1 0 13.6 9M13.2 2.4v3.3H9.9",
  completed: "M3 8.6l3.2 3.2L13 4.8",
  cancelled: `${CIRCLE}M4.2 11.8l7.6-7.6`,
  discarded: `${OCTAGON}M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4`,
  cancelling: `${CIRCLE}M6 6h4v4H6z`,
  paused: "M5.6 3.5v9M10.4 3.5v9",
  // levels
  ok: `${CIRCLE}M5.2 8.3l2 2 3.6-4`,
  bad: `${OCTAGON}M8 4.8v4M8 11v.4`,
  warn: `${TRIANGLE}M8 6.4v3.2M8 11.2v.4`,
  info: `${CIRCLE}M8 7.4V11M8 5v.3`,
  // pages
  overview: "M2.5 13.5v-5h3v5zM6.5 13.5v-11h3v11zM10.5 13.5v-7h3v7z",
  queues: "M2.5 3.5h11M2.5 8h11M2.5 12.5h7",
  jobs: "M3 2.5h10v11H3zM5.5 6h5M5.5 8.5h5M5.5 11h3",
  failures: `${TRIANGLE}M8 6.4v3.2M8 11.2v.4`,
  workers: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.2M5 11h.2",
  schedules: "M2.5 3.5h11v10h-11zM2.5 6.8h11M5.5 2v3M10.5 2v3",
  scaler: "M2.5 10.5l3.5-4 3 2.5 4.5-5.5M10 3.5h3.5V7",
  audit: "M4 2.5h6l2.5 2.5v8.5H4zM6 7h4.5M6 9.5h4.5",
  // actions
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4l3.4 3.4",
  more: "M3.5 8h.2M8 8h.2M12.5 8h.2",
  close: "M4 4l8 8M12 4l-8 8",
  theme: "M8 2.4a5.6 5.6 0 1 0 0 11.2zM8 2.4a5.6 5.6 0 1 1 0 11.2",
  up: "M8 13V3.5M4 7.5l4-4 4 4",
  down: "M8 3v9.5M4 8.5l4 4 4-4",
  left: "M10 3.5L5.5 8l4.5 4.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  play: "M4.5 3l8 5-8 5z",
  stop: "M4 4h8v8H4z",
  missed: "M4.5 7.5v-2a3.5 3.5 0 0 1 7 0v2M3.5 7.5h9v6h-9z",
};

export function Icon({ name, tone = "" }) {
  return html`<svg class=${`icon ${tone}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name] || PATHS.info} />
  </svg>`;
}

/** A circle that is half full, or full. */
export function RunningIcon({ isFull }) {
  return html`<svg class="icon run" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <circle cx="8" cy="8" r="5.4" class=${isFull ? "solid" : ""} />
    <path class="solid" d="M8 2.6a5.4 5.4 0 0 1 0 10.8z" />
  </svg>`;
}

export function Logo() {
  return html`<svg viewBox="0 0 20 20" aria-hidden="true" focusable="false">
    <path d="M3 6h9a4 4 0 0 1 0 8H3" />
    <circle cx="4" cy="14" r="1.6" />
    <circle cx="9" cy="14" r="1.6" />
  </svg>`;
}
