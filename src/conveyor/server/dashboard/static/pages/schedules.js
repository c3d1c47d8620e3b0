// What the clock enqueues: when next, how it went, and pausing or running it now.
import { html } from "../lib/html.js";
import { get, getAll, post, put, segment } from "../lib/api.js";
import { useRead } from "../lib/data.js";
import { visible } from "../lib/foreign_text.js";
import { commandLine } from "../lib/shell.js";
import { Action } from "../ui/button.js";
import { act, ask } from "../ui/dialog.js";
import { jobLink, Name } from "../ui/name.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { Table } from "../ui/table.js";
import { When } from "../ui/time.js";

const OUTLOOKS = 100; // schedules whose next ticks and last jobs are read

export function Schedules() {
  const schedules = useRead("schedules", () => getAll("schedules"), 2);
  const names = (schedules.data ?? []).slice(0, OUTLOOKS).map(({ name }) => name);
  const outlooks = useRead(`outlooks ${names.join("\n")}`, () => readOutlooks(names), 10);
  return html`<${Page} title="Schedules" sub="What the clock enqueues. Next ticks first, paused ones last.">
    <${Data} of=${schedules}>
      ${(all) =>
        all.length === 0
          ? html`<${Empty} icon="schedules" title="There is no schedule">
              Declare one in the application: <code>@belt.schedule("@daily")</code>
            <//>`
          : html`<${Card} kind="flush">
              <${ScheduleTable} schedules=${all} outlooks=${outlooks.data ?? {}} />
            <//>`}
    <//>
  <//>`;
}

async function readOutlooks(names) {
  const read = (name) => get(`schedules/${segment(name)}/outlook`).then((found) => [name, found]);
  return Object.fromEntries(await Promise.all(names.map(read)));
}

const inOrder = (a, b) => Number(a.paused) - Number(b.paused) || a.next_at - b.next_at;

function ScheduleTable({ schedules, outlooks }) {
  return html`<${Table}
    caption="Schedules"
    rows=${[...schedules].sort(inOrder)}
    id=${(schedule) => schedule.name}
    level=${(schedule) => (schedule.paused ? "warn" : "")}
    columns=${[
      {
        head: "Schedule",
        kind: "grow",
        cell: (schedule) =>
          html`<${Rule} schedule=${schedule} words=${outlooks[schedule.name]?.words} />`,
      },
      {
        head: "Next",
        isNumber: true,
        cell: (schedule) =>
          html`<${Next} schedule=${schedule} next=${outlooks[schedule.name]?.next ?? []} />`,
      },
      {
        head: "Last",
        isNumber: true,
        hide: "s",
        cell: (schedule) => html`<${When} at=${schedule.last_at} />`,
      },
      {
        head: "Last 20 jobs",
        hide: "m",
        cell: (schedule) => html`<${Ticks} outcomes=${outlooks[schedule.name]?.outcomes ?? []} />`,
      },
      {
        head: "Action",
        isHidden: true,
        kind: "end",
        cell: (schedule) => html`<${Actions} of=${schedule} />`,
      },
    ]}
  />`;
}

function Rule({ schedule, words }) {
  return html`<span class="job">
    <span class="strong"><${Name} of=${schedule.name} /></span>${" "}
    ${
      schedule.paused &&
      html`<span class="tag warn">
      paused${schedule.paused_by && html` by <${Name} of=${schedule.paused_by} />`}
    </span>`
    }
    <span class="args line">${words ? visible(words) : visible(schedule.timezone)}</span>
    ${schedule.pause_reason && html`<span class="args line">“${visible(schedule.pause_reason)}”</span>`}
    <span class="args line mono hide-s">${visible(schedule.cron)}</span>
  </span>`;
}

function Next({ schedule, next }) {
  if (schedule.paused) return html`<span class="dim">–</span>`;
  const then = next.filter((at) => at > schedule.next_at).slice(0, 2);
  return html`<strong><${When} at=${schedule.next_at} /></strong>
    ${
      then.length > 0 &&
      html`<span class="args line hide-s">
      then ${then.map((at, index) => html`<span key=${at}>${index ? ", " : ""}<${When} at=${at} /></span>`)}
    </span>`
    }`;
}

/** The jobs of the last ticks, the oldest first: each leads to its job. */
function Ticks({ outcomes }) {
  if (outcomes.length === 0) return html`<span class="dim">none yet</span>`;
  const bad = outcomes.filter(({ state }) => state === "discarded").length;
  return html`<span class="ticks">
      ${outcomes.map(
        ({ id, state }) =>
          html`<a key=${id} class=${state} href=${jobLink(id)} aria-label=${state} title=${state} />`,
      )}
    </span>
    ${bad > 0 && html`<span class="args line">${bad} discarded</span>`}`;
}

const setPaused = (name, paused, reason = "") =>
  put(`schedules/${segment(name)}/paused`, { paused, reason });

const resume = (name) => act(() => setPaused(name, false), `${visible(name)} is resumed.`);

function Actions({ of: { name, paused, missed } }) {
  const runNow = () =>
    ask({
      call: "run_schedule",
      title: `Run ${visible(name)} now?`,
      yes: "Run it once",
      body: html`<p>
        Its jobs are enqueued once more, by an application that declares it. The next tick stays where
        it is.
      </p>`,
      command: commandLine("conveyor", "schedules", "run", name),
      run: (reason) => post(`schedules/${segment(name)}/run`, { reason }),
      done: `${visible(name)} is enqueued.`,
    });
  const pause = () =>
    ask({
      call: "pause_schedule",
      title: `Pause ${visible(name)}?`,
      yes: "Pause it",
      body: html`<p>
        Its ticks pass without a job. When it is resumed, missed ones are${" "}
        ${missed === "skip" ? "left out" : missed === "once" ? "made up for once" : "all made up for"}
        ${" "}(<code>missed="${missed}"</code>).
      </p>`,
      command: commandLine("conveyor", "schedules", "pause", name),
      run: (reason) => setPaused(name, true, reason),
      done: `${visible(name)} is paused.`,
      undo: () => resume(name),
    });
  return html`<span class="acts">
    ${
      !paused &&
      html`<${Action} small call="run_schedule" kind="ghost" label=${`Run now: ${name}`} onClick=${runNow}>
        Run now
      <//>`
    }
    ${
      paused
        ? html`<${Action} small call="pause_schedule" icon="play" label=${`Resume ${name}`} onClick=${() => resume(name)}>
          Resume
        <//>`
        : html`<${Action} small call="pause_schedule" kind="ghost" icon="paused" label=${`Pause ${name}`} onClick=${pause} />`
    }
  </span>`;
}
