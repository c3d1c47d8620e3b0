// The scaler: machines against load over time, and each of its decisions with the reason.
import { html } from "../lib/html.js";
import { useData } from "../lib/data.js";
import { count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { Cli } from "../ui/button.js";
import { Chart } from "../ui/chart.js";
import { Icon } from "../ui/icon.js";
import { Name } from "../ui/name.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { Level } from "../ui/state.js";
import { Table } from "../ui/table.js";
import { When } from "../ui/time.js";

const WORDS = {
  start: ["up", "started"],
  start_failed: ["warn", "not started"],
  drain: ["down", "told to drain"],
  drain_refused: ["warn", "did not drain"],
  stop: ["down", "told to stop"],
  stopped: ["down", "stopped"],
  stop_failed: ["warn", "not stopped"],
  stop_refused: ["warn", "kept: busy"],
  forget: ["down", "removed"],
  forget_refused: ["warn", "not removed"],
  left: ["down", "left by itself"],
};

export function Scaler() {
  const scaler = useData("scaler", {}, 2);
  const { leader, is_current: isCurrent, status } = scaler.data ?? {};
  const sub =
    leader &&
    html`<${Name} of=${leader.holder} /> ${isCurrent ? "leads" : "led last"}
      ${status && html`, looked <${When} at=${status.at} />, looks every ${count(status.every)} s`}`;
  return html`<${Page} title="Scaler" sub=${sub}>
    <${Data} of=${scaler}>${() => (status ? html`<${Fleet} of=${status} />` : html`<${None} />`)}<//>
  <//>`;
}

function None() {
  return html`<${Empty} icon="scaler" title="No scaler has run against this store">
    It starts and stops machines as the load changes: <code>conveyor scale --config FILE</code>
  <//>`;
}

function Fleet({ of: { pools, held, blind, events, tallies = [] } }) {
  return html`<${Held} held=${held} blind=${blind} />
    ${tallies.length > 1 && html`<${Load} tallies=${tallies} />`}
    <${Card} title="Pools" kind="flush"><${Pools} pools=${pools} /><//>
    <${Card} title="Decisions" note="of 24 hours, each with its reason" kind="flush">
      <${Decisions} events=${events} />
    <//>
    <${Cli} command="conveyor scale status" />`;
}

function Held({ held, blind }) {
  const reasons = [
    ...held.map((text) => [text, "warn"]),
    ...Object.entries(blind).map(([pool, why]) => [`${pool} cannot be reached: ${why}`, "bad"]),
  ];
  const level =
    reasons.length === 0 ? "ok" : reasons.some(([, each]) => each === "bad") ? "bad" : "warn";
  const text = level === "ok" ? "What is needed is there" : "Something is needed and not done";
  return html`<section class=${`verdict ${level}`} aria-label="What is held back">
    <h2><${Level} is=${level} />${text}</h2>
    ${
      reasons.length > 0 &&
      html`<ul>
      ${reasons.map(
        ([reason, each]) => html`<li key=${reason} class=${`problem ${each}`}>
          <${Level} is=${each} /><div><p>${visible(reason)}</p></div>
        </li>`,
      )}
    </ul>`
    }
  </section>`;
}

const total = (numbers = {}) => Object.values(numbers).reduce((sum, each) => sum + each, 0);

const step = { fill: 0.2, width: 2, isStepped: true };

function Load({ tallies }) {
  const line = (name, read, look) => ({ name, data: tallies.map(read), ...look });
  const times = tallies.map((each) => each.at);
  const machines = [
    line("machines", (each) => total(each.machines), { color: "c-ok", ...step }),
    line("wanted", (each) => total(each.wanted), {
      color: "c-text",
      dash: "dash",
      isStepped: true,
    }),
  ];
  const jobs = [
    line("waiting", (each) => each.waiting, { color: "c-text", dash: "dash" }),
    line("running", (each) => each.running, { color: "c-in", width: 2 }),
  ];
  return html`<div class="grid two">
    <${Card} title="Machines">
      <${Chart} label="Machines" times=${times} unit="now" series=${machines} />
    <//>
    <${Card} title="Load, in jobs">
      <${Chart} label="Jobs" times=${times} unit="now" series=${jobs} />
    <//>
  </div>`;
}

function Decisions({ events }) {
  if (events.length === 0) {
    return html`<${Empty} title="It has decided nothing yet">What is there is what is needed.<//>`;
  }
  return html`<${Table}
    caption="Decisions, newest first"
    rows=${[...events].sort((a, b) => b.at - a.at)}
    id=${(event) => `${event.at} ${event.did} ${event.subject}`}
    columns=${[
      { head: "When", cell: (event) => html`<${When} at=${event.at} />` },
      { head: "Did", hide: "s", cell: (event) => html`<${Did} event=${event} />` },
      { head: "What", hide: "s", cell: (event) => html`<${Name} of=${event.subject} />` },
      {
        head: "Why",
        kind: "grow wraps",
        cell: (event) =>
          html`<strong class="only-s"><${Did} event=${event} /> <${Name} of=${event.subject} /></strong>
            ${visible(event.why)}`,
      },
    ]}
  />`;
}

function Did({ event }) {
  const [icon, word] = WORDS[event.did] ?? ["info", event.did];
  return html`<span class=${`did ${icon === "warn" ? "held" : ""}`}>
    <${Icon} name=${icon} />${event.count > 1 ? `${count(event.count)} ` : ""}${word}
  </span>`;
}

function Pools({ pools }) {
  const column = (head, field) => ({
    head,
    isNumber: true,
    hide: "s",
    cell: (pool) => pool[field],
  });
  const have = (pool) => pool.booting + pool.idle + pool.busy + pool.draining + pool.other;
  return html`<${Table}
    caption="Pools"
    rows=${pools}
    id=${(pool) => pool.pool}
    columns=${[
      {
        head: "Pool",
        kind: "grow",
        cell: (pool) => html`<strong><${Name} of=${pool.pool} /></strong>`,
      },
      { head: "There", isNumber: true, cell: (pool) => html`<strong>${have(pool)}</strong>` },
      { head: "Wanted", isNumber: true, cell: (pool) => pool.wanted },
      column("Busy", "busy"),
      column("Idle", "idle"),
      column("Booting", "booting"),
      column("Draining", "draining"),
    ]}
  />`;
}
