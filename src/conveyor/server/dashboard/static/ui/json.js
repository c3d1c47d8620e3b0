// Arguments and results as JSON, with masked values standing out.
import { html } from "../lib/html.js";
import { cut, visible } from "../lib/foreign_text.js";

const SHOWN = 20000; // characters of one value
const isMask = (value) => typeof value === "string" && /^•+$/.test(value);

/** An object by its names, any other value as it is. */
export function Json({ value, label }) {
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  return html`<pre class="json" tabindex="0" role="region" aria-label=${label}>${
    isObject
      ? Object.entries(value).map(
          ([name, each]) =>
            html`<span key=${name} class="kv"><span class="k">${visible(name)}</span>  <${Value} of=${each} />${"\n"}</span>`,
        )
      : html`<${Value} of=${value} />`
  }</pre>`;
}

function Value({ of: value }) {
  if (isMask(value)) return html`<span class="masked">${value} masked</span>`;
  const text = JSON.stringify(value, null, 1)?.replace(/\n\s*/g, " ") ?? "null";
  return html`<span class=${typeof value}>${visible(cut(text, SHOWN))}</span>`;
}
