// Find or do: pages, queues, tasks, workers and jobs by name, and the most common actions.
import { html, useEffect, useState } from "../lib/html.js";
import { get, may, segment } from "../lib/api.js";
import { go } from "../lib/route.js";
import { visible } from "../lib/foreign_text.js";
import { Modal } from "./dialog.js";
import { jobLink, jobsLink, queueLink, workerLink } from "./name.js";
import { overlay, PAGES } from "./frame.js";
import { pauseQueue } from "./orders.js";
import { turnTheme } from "./theme.js";
import { showsExact } from "./time.js";

const MOST = 14;
const ENOUGH = 2; // characters from which names are looked for

const fixed = () => [
  ...PAGES.map(([key, name, letter]) => ["Go to", name, () => go(`#/${key}`), `g ${letter}`]),
  ["Look at", "Jobs discarded in the last hour", () => go("#/jobs?state=discarded&newer=1h")],
  ["Look at", "Oldest waiting jobs", () => go("#/jobs?state=available&order=oldest")],
  ["Do", "Change the theme", turnTheme],
  [
    "Do",
    showsExact.value ? "Show relative times" : "Show exact times",
    () => (showsExact.value = !showsExact.value),
    "t",
  ],
];

async function suggestions(kind, text) {
  try {
    return (await get("suggest", { kind, text, limit: 5 })).found;
  } catch {
    return []; // a token may not be allowed to list them
  }
}

/** Everything that has the text in its name: [group, name, open, key]. */
async function find(text) {
  const [queues, tasks, workers, job] = await Promise.all([
    suggestions("queue", text),
    suggestions("task", text),
    suggestions("worker", text),
    findJob(text),
  ]);
  return [
    ...job,
    ...queues.map((name) => ["Queue", name, () => go(queueLink(name))]),
    ...tasks.map((name) => ["Task", name, () => go(jobsLink({ task: name }))]),
    ...workers.map((name) => ["Worker", name, () => go(workerLink(name))]),
    ...(may("set_paused")
      ? queues.map((name) => ["Do", `Pause queue ${name}`, () => pauseQueue(name)])
      : []),
  ];
}

async function findJob(text) {
  if (!/^[0-9a-f-]{32,36}$/.test(text)) return [];
  try {
    const job = await get(`jobs/${segment(text)}`);
    return [["Job", `${job.task} ${job.id}`, () => go(jobLink(job.id))]];
  } catch {
    return [];
  }
}

export function Palette() {
  const [text, setText] = useState("");
  const [found, setFound] = useState([]);
  const [at, setAt] = useState(0);
  const close = () => (overlay.value = "");
  useEffect(() => {
    let isCurrent = true;
    setAt(0);
    if (text.trim().length < ENOUGH) setFound([]);
    else find(text.trim()).then((hits) => isCurrent && setFound(hits));
    return () => (isCurrent = false);
  }, [text]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = ([group, name]) =>
    words.every((word) => `${group} ${name}`.toLowerCase().includes(word));
  const hits = [...found, ...fixed().filter(matches)].slice(0, MOST);
  const choose = (hit) => {
    close();
    setTimeout(hit[2]); // after the dialog has given back the focus
  };
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && hits.length > 0) setAt((at + step + hits.length) % hits.length);
    else if (event.key === "Enter" && hits[at]) choose(hits[at]);
    else return;
    event.preventDefault();
  };
  const label = "Id of a job, queue, task, worker, or what to do";
  return html`<${Modal} title="Find or do" kind="palette" close=${close}>
    <input
      role="combobox"
      aria-expanded="true"
      aria-controls="hits"
      aria-activedescendant=${hits.length > 0 ? `hit-${at}` : undefined}
      aria-label=${label}
      placeholder=${label}
      autofocus
      autocomplete="off"
      spellcheck=${false}
      value=${text}
      onInput=${(event) => setText(event.target.value)}
      onKeyDown=${keys}
    />
    <ul id="hits" role="listbox" aria-label="Found">
      ${hits.map(
        (hit, index) => html`<li
          key=${`${hit[0]} ${hit[1]}`}
          id=${`hit-${index}`}
          role="option"
          aria-selected=${index === at}
          onClick=${() => choose(hit)}
          onMouseMove=${() => index !== at && setAt(index)}
        >
          <span class="group">${hit[0]}</span><span><bdi>${visible(hit[1])}</bdi></span>
          ${hit[3] && html`<kbd>${hit[3]}</kbd>`}
        </li>`,
      )}
    </ul>
    ${hits.length === 0 && html`<p class="dim pad">Nothing is called like that. A job is found by its whole id.</p>`}
  <//>`;
}
