// The filter of the list of jobs as words, with suggestions. What it has is in the address.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { FIELDS, filterOf } from "../lib/job_filter.js";
import { visible } from "../lib/foreign_text.js";
import { go, link } from "../lib/route.js";
import { Icon } from "./icon.js";
import { STATES } from "./state.js";

const SUGGESTED = new Set(["queue", "task", "worker"]);
const DURATIONS = ["5m", "1h", "6h", "1d"];

export function FilterBar({ query }) {
  const [text, setText] = useState("");
  const [isOpen, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const box = useRef();
  const filter = filterOf(query);
  const list = useSuggestions(text, filter);
  useEffect(() => setAt(0), [text]);
  const set = (key, value) => go(link("jobs", { ...query, [key]: value, before: "", after: "" }));
  const choose = (one) => {
    if (one.field) {
      set(one.field, one.value);
      setText("");
    } else setText(one.text);
    box.current.focus();
  };
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && list.length > 0) {
      event.preventDefault();
      setOpen(true);
      setAt((at + step + list.length) % list.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (isOpen && list[at] && list[at].text.startsWith(text)) choose(list[at]);
      else if (text !== "") {
        const [, field, value] = /^(\w+):(.*)$/.exec(text) ?? [];
        if (field in FIELDS) set(field, value);
        else set("text", text);
        setText("");
      }
    } else if (event.key === "Backspace" && text === "") {
      const last = Object.keys(filter).at(-1);
      if (last) set(last, "");
    } else if (event.key === "Escape") setOpen(false);
  };
  const isShown = isOpen && list.length > 0;
  return html`<div class="filters">
    <${Icon} name="search" />
    ${Object.entries(filter).map(
      ([key, value]) => html`<span class="token" key=${key}>
        <span class="dim">${key}:</span><bdi>${visible(value)}</bdi>
        <button type="button" aria-label=${`Remove the filter ${key} ${value}`} onClick=${() => set(key, "")}>
          <${Icon} name="close" />
        </button>
      </span>`,
    )}
    <input
      ref=${box}
      data-filter
      role="combobox"
      aria-expanded=${isShown}
      aria-controls="suggestions"
      aria-autocomplete="list"
      aria-activedescendant=${isShown ? `suggestion-${at}` : undefined}
      aria-label="Filter"
      placeholder=${Object.keys(filter).length ? "" : "Filter: queue, state, task, error, older …"}
      value=${text}
      spellcheck=${false}
      autocomplete="off"
      onInput=${(event) => {
        setText(event.target.value);
        setOpen(true);
      }}
      onFocus=${() => setOpen(true)}
      onBlur=${() => setOpen(false)}
      onKeyDown=${keys}
    />
    ${Object.keys(filter).length > 0 && html`<a class="linkish" href="#/jobs">Clear</a>`}
    <ul id="suggestions" class="suggest" role="listbox" aria-label="Suggestions" hidden=${!isShown}>
      ${list.map(
        (one, index) => html`<li
          key=${one.text}
          id=${`suggestion-${index}`}
          role="option"
          aria-selected=${index === at}
          onMouseDown=${(event) => {
            event.preventDefault(); // the field keeps the focus
            choose(one);
          }}
        >
          <span>${visible(one.text)}</span><span class="dim">${one.note}</span>
        </li>`,
      )}
    </ul>
  </div>`;
}

/** Fields that begin with the text; after a colon, values of the field. */
function useSuggestions(text, filter) {
  const [list, setList] = useState([]);
  const present = Object.keys(filter).join();
  useEffect(() => {
    const [, field, value] = /^(\w+):(.*)$/.exec(text) ?? [];
    let isCurrent = true;
    if (field === undefined) {
      const fields = Object.entries(FIELDS).filter(
        ([key]) => key.startsWith(text) && !(key in filter),
      );
      setList(fields.map(([key, note]) => ({ text: `${key}:`, note })));
      return;
    }
    const show = (values) =>
      isCurrent &&
      setList(values.map((one) => ({ text: `${field}:${one}`, note: "", field, value: one })));
    if (SUGGESTED.has(field)) {
      get("suggest", { kind: field, text: value, limit: 8 }).then(
        ({ found }) => show(found),
        () => show([]),
      );
    } else if (field === "state") show(STATES.filter((state) => state.startsWith(value)));
    else if (field === "older" || field === "newer")
      show(DURATIONS.filter((one) => one.startsWith(value)));
    else show([]);
    return () => (isCurrent = false);
  }, [text, present]);
  return list;
}
