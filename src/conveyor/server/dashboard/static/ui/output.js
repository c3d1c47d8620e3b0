// The output of a job as it comes: searched, by stream, downloaded. Only lines in sight are drawn.
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { get, getBytes, segment } from "../lib/api.js";
import { clock, count, countOf, tail } from "../lib/format.js";
import { visibleLine } from "../lib/foreign_text.js";
import { beat, jobBeat } from "../lib/live.js";
import { OutputLines } from "../lib/output.js";
import { Button } from "./button.js";
import { tellError } from "./dialog.js";
import { Icon } from "./icon.js";
import { Card } from "./page.js";

const ROW = 18; // pixels of a line
const STREAMS = { stdout: "out", stderr: "err", log: "log", mark: "––" };
const CHUNKS = 500;
// Calls in a row while there is more, so that one page cannot keep a server busy.
const MOST_CALLS = 20;

/** Read new chunks when the job writes some, and return the lines. */
function useOutput(job) {
  const [shown, setShown] = useState({ lines: [], dropped: 0, isCut: false });
  const state = useRef({ output: new OutputLines(), isBusy: false, isCut: false });
  const read = async () => {
    const { current } = state;
    if (current.isBusy) return;
    current.isBusy = true;
    try {
      for (let call = 0; call < MOST_CALLS; call += 1) {
        const chunks = await readChunks(job.id, current);
        if (current !== state.current) return;
        current.output.add(chunks);
        if (chunks.length < CHUNKS) break;
      }
      const { lines, dropped } = current.output;
      setShown({ lines: [...lines], dropped, isCut: current.isCut });
    } catch {
      // The banner says that the connection is lost; the next beat tries again.
    } finally {
      current.isBusy = false;
    }
  };
  const isLive = job.state === "running";
  useEffect(() => void read(), [job.id, job.state, jobBeat.value, isLive ? beat.value : 0]);
  return { ...shown, all: async () => readAll(job.id) };
}

/** The newest chunks at first, then those that follow. */
async function readChunks(id, state) {
  const { last } = state.output;
  if (last > 0) return get(`jobs/${segment(id)}/output`, { after: last, limit: CHUNKS });
  const newest = await get(`jobs/${segment(id)}/output`, { before: 0, limit: CHUNKS - 1 });
  state.isCut = newest.length >= CHUNKS - 1;
  return newest;
}

async function readAll(id) {
  const output = [];
  let after = 0;
  for (;;) {
    const chunks = await get(`jobs/${segment(id)}/output`, { after, limit: CHUNKS });
    for (const { data } of chunks) {
      output.push(Uint8Array.from(atob(data), (character) => character.charCodeAt(0)));
    }
    if (chunks.length === 0) return output;
    after = chunks.at(-1).seq;
  }
}

function download(parts, name) {
  const url = URL.createObjectURL(new Blob(parts));
  const anchor = document.createElement("a");
  Object.assign(anchor, { href: url, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Save what `read` returns as a file, or tell why it cannot be read. */
async function save(read, name) {
  try {
    download(await read(), name);
  } catch (error) {
    tellError(error);
  }
}

/** Save a file of a job, piece by piece. */
export const downloadFile = ({ name, digest, size }) =>
  save(() => readFile(digest, size), name.split("/").at(-1));

async function readFile(digest, size) {
  const parts = [];
  const piece = 1 << 20;
  for (let offset = 0; offset < size; offset += piece) {
    parts.push(await getBytes(`contents/${segment(digest)}/bytes`, { offset, limit: piece }));
  }
  return parts;
}

export function Output({ job }) {
  const output = useOutput(job);
  const isLive = job.state === "running";
  const [follow, setFollow] = useState(true);
  const [text, setText] = useState("");
  const [hit, setHit] = useState(0);
  const [stream, setStream] = useState("");
  const [isWrapped, setWrapped] = useState(false);
  const { lines } = output;
  const seen = useMemo(
    () => (stream ? lines.filter((line) => line.stream === stream) : lines),
    [lines, stream],
  );
  const hits = useMemo(() => {
    const words = text.toLowerCase();
    if (words === "") return [];
    return seen.flatMap((line, at) => (line.text.toLowerCase().includes(words) ? [at] : []));
  }, [seen, text]);
  const jump = (step) => {
    if (hits.length === 0) return;
    setHit((hit + step + hits.length) % hits.length);
    setFollow(false);
  };
  const search = (value) => {
    setText(value);
    setHit(0);
    setFollow(false);
  };
  const number = output.dropped + lines.length;
  const isPart = output.isCut || output.dropped > 0;
  const note = `${countOf(number, "line")}${isLive ? ", live" : ""}`;
  const tools = html`<${Button} small icon="down" pressed=${follow} onClick=${() => setFollow(!follow)}>
      Follow
    <//>
    <${Button} small kind="ghost" onClick=${() => save(output.all, `job-${tail(job.id)}.log`)}>
      Download
    <//>`;
  return html`<${Card} title="Output" kind="output" note=${note} tools=${tools}>
    <div class="logbar">
      <${Search} ...${{ text, search, hits, hit, jump, isPart }} />
      <span class="gap" />
      <label class="sel">
        <span class="sr">Stream</span>
        <select value=${stream} onChange=${(event) => setStream(event.target.value)}>
          <option value="">all streams</option>
          ${Object.keys(STREAMS).map((each) => html`<option key=${each}>${each}</option>`)}
        </select>
      </label>
      <${Button} small kind="ghost" pressed=${isWrapped} onClick=${() => setWrapped(!isWrapped)}>Wrap<//>
    </div>
    ${
      isPart &&
      html`<p class="pad dim">The newest output is shown; the download has all of it.</p>`
    }
    ${
      seen.length > 0
        ? html`<${Lines} lines=${seen} marked=${hits[hit]} ...${{ text, follow, setFollow, isWrapped }} />`
        : html`<p class="pad dim">It has written nothing${isLive ? " yet" : ""}.</p>`
    }
  <//>`;
}

function Search({ text, search, hits, hit, jump, isPart }) {
  const onKeyDown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    jump(event.shiftKey ? -1 : 1);
  };
  return html`<label class="filterbox">
      <${Icon} name="search" /><span class="sr">Search the output</span>
      <input
        data-filter
        placeholder="Search (f)"
        value=${text}
        onInput=${(event) => search(event.target.value)}
        onKeyDown=${onKeyDown}
      />
    </label>
    ${
      text &&
      html`<span class="note" role="status">
        ${hits.length ? `${hit + 1} of ${count(hits.length)}` : isPart ? "not in what is shown" : "not found"}
      </span>
      <${Button} small kind="ghost" icon="up" label="Previous" onClick=${() => jump(-1)} />
      <${Button} small kind="ghost" icon="down" label="Next" onClick=${() => jump(1)} />`
    }`;
}

const MARGIN = 12; // lines that are drawn above and below what is in sight
const WRAPPED = 400; // lines that are drawn when they are wrapped: their heights differ

function Lines({ lines, marked, text, follow, setFollow, isWrapped }) {
  const box = useRef();
  const [top, setTop] = useState(0);
  useEffect(() => {
    if (follow) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow, isWrapped]);
  useEffect(() => {
    if (marked !== undefined && !follow) box.current.scrollTop = marked * ROW - 120;
  }, [marked]);
  const onScroll = ({ target }) => {
    const isAtEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 24;
    if (!isAtEnd && follow && target.scrollTop < top - 4) setFollow(false);
    setTop(target.scrollTop);
  };
  const first = isWrapped
    ? Math.max(0, lines.length - WRAPPED)
    : Math.max(0, Math.floor(top / ROW) - MARGIN);
  const drawn = lines.slice(first, isWrapped ? undefined : first + 2 * MARGIN + 40);
  const size = isWrapped
    ? {}
    : { height: `${lines.length * ROW}px`, paddingTop: `${first * ROW}px` };
  return html`<div
    class=${`logbox ${isWrapped ? "wrap" : ""}`}
    ref=${box}
    role="log"
    aria-live="off"
    aria-label="Output"
    tabindex="0"
    onScroll=${onScroll}
  >
    <div class="sizer" style=${size}>
      ${drawn.map(
        (line, at) => html`<div
          key=${line.number}
          class=${`ln ${line.stream} ${text && marked === first + at ? "cur" : ""}`}
        >
          <span class="no">${line.number}</span>
          <span class="ts">${clock(line.at, { withMs: true })}</span>
          <span class="st">${STREAMS[line.stream]}</span>
          <bdi class="tx"><${Marked} line=${visibleLine(line.shown)} text=${text} /></bdi>
        </div>`,
      )}
    </div>
  </div>`;
}

function Marked({ line, text }) {
  const at = text ? line.toLowerCase().indexOf(text.toLowerCase()) : -1;
  if (at < 0) return line;
  const end = at + text.length;
  return html`${line.slice(0, at)}<mark>${line.slice(at, end)}</mark>${line.slice(end)}`;
}
