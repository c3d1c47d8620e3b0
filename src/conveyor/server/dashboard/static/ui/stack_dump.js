// What a running job does right now: its stack or its processes, again every two seconds, but not
// while the page is hidden or paused.
import { html, useEffect, useState } from "../lib/html.js";
import { get, may, post, segment } from "../lib/api.js";
import { bytes, clock } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { isResting } from "../lib/live.js";
import { Button } from "./button.js";
import { Scroll } from "./page.js";
import { Frames } from "./traceback.js";

const EVERY = 2000; // milliseconds between two dumps
const POLL = 250;
const PATIENCE = 10000;

export const maySeeStacks = () => may("request_stack") && may("stack");

/** Ask for a dump, and wait until the job's worker has taken it; null if the page does not wait. */
async function takeDump(id, isWaiting) {
  const path = `jobs/${segment(id)}/stack`;
  await post(path);
  const until = performance.now() + PATIENCE;
  while (performance.now() < until) {
    if (!isWaiting()) return null;
    const found = await get(path);
    if (found?.dump) return { at: found.taken_at, ...found.dump };
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
  const detail = "Its worker may be silent, or of a version that cannot take stacks.";
  throw Object.assign(new Error(detail), { title: "No stack came within 10 s", detail });
}

export function StackDump({ id }) {
  const [isOn, setOn] = useState(false);
  const [dump, setDump] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    if (!isOn) return undefined;
    let isCurrent = true;
    let timer = 0;
    const again = () => (isResting() ? wait() : take());
    const wait = () => (timer = setTimeout(again, EVERY));
    const take = async () => {
      try {
        const found = await takeDump(id, () => isCurrent && !document.hidden);
        if (!isCurrent) return;
        if (found) setDump(found);
        wait();
      } catch (failure) {
        if (!isCurrent) return;
        setError(failure);
        setOn(false);
      }
    };
    setError(null);
    take();
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [isOn, id]);
  return html`<div class="stackdump">
    <div class="row">
      <${Button} small icon="workers" pressed=${isOn} onClick=${() => setOn(!isOn)}>
        ${isOn ? "Stop" : "Take its stack"}
      <//>
      ${dump && html`<span class="note">${isOn ? "as of" : "was, at"} ${clock(dump.at, { withMs: true })}</span>`}
    </div>
    ${error && html`<p class="error" role="alert">${error.title}. ${visible(error.detail || "")}</p>`}
    ${dump?.note && html`<p class="dim">${visible(dump.note)}</p>`}
    ${dump?.frames?.length > 0 && html`<${Frames} frames=${dump.frames.map(frameOf).reverse()} />`}
    ${dump?.processes?.length > 0 && html`<${Processes} processes=${dump.processes} />`}
  </div>`;
}

/** A dump begins with the outermost call, a list of frames with the innermost. */
const frameOf = ({ function: name, own, ...frame }) => ({ ...frame, name, isOwn: own });

function Processes({ processes }) {
  return html`<${Scroll} label="Processes">
    <table class="table tight">
      <caption class="sr">Processes</caption>
      <thead>
        <tr>
          <th scope="col" class="num">Pid</th>
          <th scope="col">Command</th>
          <th scope="col">State</th>
          <th scope="col" class="num">Memory</th>
        </tr>
      </thead>
      <tbody>
        ${processes.map(
          ({ pid, command, state, rss }) => html`<tr key=${pid}>
            <td class="num mono">${pid}</td>
            <td class="mono">${visible(command)}</td>
            <td>${visible(state)}</td>
            <td class="num">${bytes(rss)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  <//>`;
}
