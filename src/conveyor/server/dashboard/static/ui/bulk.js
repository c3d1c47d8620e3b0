// Acting on many jobs: the ones selected, or all that match the filter as of now.
import { html } from "../lib/html.js";
import { may, post } from "../lib/api.js";
import { count, countOf, now } from "../lib/format.js";
import { bodyOf, commandFor, filterWords } from "../lib/job_filter.js";
import { visible } from "../lib/foreign_text.js";
import { commandLine } from "../lib/shell.js";
import { Action } from "./button.js";
import { ask, askAfter } from "./dialog.js";
import { cancelJob, retryJob } from "./job_actions.js";
import { FINAL } from "./state.js";

// Above this many jobs, their number has to be typed.
const TYPED_ABOVE = 100;
const STEP = 1000;

const ACTIONS = {
  retry: {
    verb: "Retry",
    call: "retry",
    icon: "retryable",
    effect: "They run again from their first attempt.",
  },
  cancel: {
    verb: "Cancel",
    call: "cancel",
    icon: "cancelled",
    isHarmful: true,
    effect: "Waiting ones are cancelled at once; running ones are asked to stop.",
  },
};

export const mayActOnMany = () => may("retry") || may("cancel");

/** The bar above the list. `matching` is how many jobs match, as text. */
export function BulkBar({ jobs, filter, selection, matching, isMore, reload }) {
  const chosen = selection.isAll ? matching : selection.size;
  const states = filter.state ? filter.state.split(",") : null;
  const offers = {
    retry: !states || states.some((state) => FINAL.has(state) || state === "retryable"),
    cancel: !states || states.some((state) => !FINAL.has(state)),
  };
  const begin = (name) =>
    selection.isAll
      ? askForAll(name, filter, selection, reload)
      : askForSome(name, selection, reload);
  return html`<div class=${`bulk ${chosen ? "on" : ""}`}>
    <label class="checkall">
      <input
        type="checkbox"
        checked=${selection.isAll || (selection.size > 0 && selection.size === jobs.length)}
        onChange=${(event) => (event.target.checked ? selection.take(jobs) : selection.clear())}
      />
      <span>${chosen ? html`<strong>${chosen}</strong> selected` : `${matching} match`}</span>
    </label>
    ${
      !selection.isAll &&
      isMore &&
      selection.size === jobs.length &&
      html`<button type="button" class="linkish" onClick=${selection.takeAll}>
      Select all ${matching} that match
    </button>`
    }
    ${
      chosen !== 0 &&
      html`<button type="button" class="linkish" onClick=${selection.clear}>Clear</button>
      <span class="acts">
        ${Object.entries(ACTIONS).map(
          ([name, { verb, call, icon, isHarmful }]) =>
            offers[name] &&
            html`<${Action}
              key=${name}
              small
              call=${call}
              icon=${icon}
              kind=${isHarmful ? "harm" : ""}
              onClick=${() => begin(name)}
              >${verb}<//
            >`,
        )}
      </span>`
    }
  </div>`;
}

function askForSome(name, selection, reload) {
  const action = ACTIONS[name];
  const ids = selection.ids();
  const jobs = countOf(ids.length, "job");
  ask({
    ...{ call: action.call, isHarmful: action.isHarmful },
    title: `${action.verb} ${jobs}?`,
    yes: `${action.verb} ${jobs}`,
    body: html`<p>The ones selected. ${action.effect}</p>`,
    command: commandLine("conveyor", name, ...ids.slice(0, 3), ids.length > 3 ? "…" : ""),
    run: async (reason) => {
      let refused = 0;
      for (const id of ids) {
        try {
          await (name === "retry" ? retryJob(id, reason) : cancelJob(id, reason));
        } catch (error) {
          if (error.status !== 404 && error.status !== 409) throw error;
          refused += 1; // it has ended or was deleted meanwhile
        }
      }
      selection.clear();
      reload();
      return result(action, ids.length - refused, refused);
    },
  });
}

const askForAll = (name, filter, selection, reload) =>
  askToActOn(name, filter, () => {
    selection.clear();
    reload();
  });

/** Count what matches a filter now, ask, and act on just these, step by step. */
export const askToActOn = (name, filter, afterwards = () => {}) =>
  askAfter(async () => {
    const action = ACTIONS[name];
    const body = bodyOf(filter, now());
    const found = await post("bulk/match", { filter: body, action: name });
    const jobs = `${found.is_capped ? "at least " : ""}${countOf(found.changeable, "job")}`;
    return {
      ...{ call: action.call, isHarmful: action.isHarmful },
      title: `${action.verb} ${jobs}?`,
      yes: `${action.verb} ${jobs}`,
      typed: found.changeable > TYPED_ABOVE ? String(found.changeable) : null,
      body: html`<p>
          All that match <code>${visible(filterWords(filter)) || "no filter: every job"}</code> as of
          this moment, not what arrives later. ${action.effect}
        </p>
        <dl class="facts">
          <div><dt>Queues</dt><dd>${parts(found.queues)}</dd></div>
          <div><dt>States</dt><dd>${parts(found.states)}</dd></div>
        </dl>`,
      command: commandFor(name, filter),
      run: async (reason) => {
        const request = { filter: body, upto: found.upto, action: name, reason };
        const [changed, refused] = await actOn(request);
        afterwards();
        return result(action, changed, refused);
      },
    };
  });

async function actOn(request) {
  let changed = 0;
  let refused = 0;
  let before = null;
  do {
    const body = { ...request, limit: STEP };
    if (before !== null) body.before = before;
    const step = await post("bulk/act", body);
    changed += step.changed;
    refused += step.refused;
    before = step.next;
  } while (before !== null);
  return [changed, refused];
}

const parts = (numbers) =>
  Object.entries(numbers)
    .map(([name, number]) => `${visible(name)} ${count(number)}`)
    .join(", ") || "none";

const result = ({ verb }, changed, refused) =>
  `${verb}: ${countOf(changed, "job")}.` +
  (refused ? ` ${count(refused)} could not be changed any more.` : "");
