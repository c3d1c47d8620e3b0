// The keyboard: one letter where no field has the focus.
import { html } from "../lib/html.js";
import { connection, pause } from "../lib/live.js";
import { go } from "../lib/route.js";
import { Modal } from "./dialog.js";
import { overlay, PAGES } from "./frame.js";
import { showsExact } from "./time.js";

const KEYS = [
  ["/", "Find or do"],
  [`g then ${PAGES.map((page) => page[2]).join(" ")}`, "Go to a page"],
  ["j k", "Next and previous row"],
  ["Enter", "Open the row"],
  ["x", "Select the row (jobs)"],
  ["f", "Filter, or search the output"],
  ["t", "Exact or relative times"],
  ["p", "Pause and resume updates"],
  ["Esc", "Close, or clear the selection"],
  ["?", "This list"],
];
const PREFIX = 1500; // milliseconds in which a letter follows g

let prefixAt = -Infinity;

const ACTIONS = {
  "/": () => (overlay.value = "find"),
  "?": () => (overlay.value = "keys"),
  t: () => (showsExact.value = !showsExact.value),
  p: () => connection.value !== "lost" && pause(connection.value !== "paused"),
  f: () => document.querySelector("main [data-filter]")?.focus(),
  j: () => moveRow(1),
  k: () => moveRow(-1),
  x: () => currentRow()?.querySelector("input[type=checkbox]")?.click(),
};

export function listenToKeys() {
  addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.timeStamp - prefixAt < PREFIX) {
      prefixAt = -Infinity;
      const page = PAGES.find(([, , letter]) => letter === event.key);
      if (page) go(`#/${page[0]}`);
      event.preventDefault();
    } else if (event.key === "g") prefixAt = event.timeStamp;
    else if (event.key in ACTIONS) {
      event.preventDefault();
      ACTIONS[event.key]();
    }
  });
}

const rows = () => [...document.querySelectorAll("main tr.go")];
const currentRow = () => document.activeElement.closest("main tr.go");

/** Move the focus to the link of another row; Enter opens it. */
function moveRow(step) {
  const all = rows();
  const at = all.indexOf(currentRow());
  const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + step))];
  const link = next?.querySelector("a");
  link?.focus();
  link?.scrollIntoView({ block: "nearest" });
}

export function KeyList() {
  return html`<${Modal} title="Keys" close=${() => (overlay.value = "")}>
    <dl class="keys">
      ${KEYS.map(
        ([keys, what]) => html`<div key=${keys}>
          <dt>${keys.split(" ").map((key) => (key === "then" ? " then " : html`<kbd key=${key}>${key}</kbd>`))}</dt>
          <dd>${what}</dd>
        </div>`,
      )}
    </dl>
  <//>`;
}
