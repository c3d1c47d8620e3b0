// Arguments and results as JSON, with masked values standing out.
import { html } from "../lib/html.js";
import { exactText, exactType } from "../lib/exact_json.js";
import { cut, visible } from "../lib/foreign_text.js";

const SHOWN = 20000; // characters of one value
const isMask = (value) => typeof value === "string" && /^•+$/.test(value);

/** An object by its names, any other value as it is; see exactParse. */
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
  const text = exactText(value, 1).replace(/\n\s*/g, " ");
  return html`<span class=${exactType(value)}>${visible(cut(text, SHOWN))}</span>`;
}
