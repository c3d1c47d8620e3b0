// Why an attempt failed: the message, and the frames of the own code first.
import { html, useState } from "../lib/html.js";
import { cut, visible } from "../lib/foreign_text.js";
import { framesOf } from "../lib/traceback.js";

const MESSAGE = 5000; // characters

export function Traceback({ error }) {
  const frames = framesOf(error.traceback || "");
  return html`<p class="errline mono">
      <strong>${visible(error.type)}</strong> ${visible(cut(error.message, MESSAGE))}
    </p>
    ${
      frames.length > 0
        ? html`<${Frames} frames=${frames} text=${error.traceback} />`
        : html`<p class="pad dim">There is no traceback. The output may say more.</p>`
    }`;
}

/** Frames, the innermost first; those of libraries on request. */
export function Frames({ frames, text }) {
  const [shown, show] = useState("own");
  const own = frames.filter((frame) => frame.isOwn);
  const listed = shown === "all" || own.length === 0 ? frames : own;
  const folded = frames.length - listed.length;
  if (shown === "text") {
    return html`<div class="frames">
      <pre class="json" tabindex="0" role="region" aria-label="Traceback">${visible(text)}</pre>
      <button type="button" class="linkish" onClick=${() => show("own")}>As frames</button>
    </div>`;
  }
  return html`<div class="frames">
    <ol>
      ${listed.map(
        (frame, at) => html`<li key=${at} class=${frame.isOwn ? "app" : "lib"}>
          <span class="where">
            <span class="fn">${visible(frame.name)}</span>${" "}
            <span class="dim">${visible(frame.file)}:${frame.line}</span>
          </span>
          ${frame.code && html`<code>${visible(frame.code)}</code>`}
        </li>`,
      )}
    </ol>
    ${
      folded > 0 &&
      html`<button type="button" class="linkish" onClick=${() => show("all")}>
      ${folded} ${folded === 1 ? "frame" : "frames"} of libraries
    </button>`
    }
    ${text && html`<button type="button" class="linkish" onClick=${() => show("text")}>As text</button>`}
  </div>`;
}
