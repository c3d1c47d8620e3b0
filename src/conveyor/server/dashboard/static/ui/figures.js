// Small figures within text and tables: sparklines, meters, slots.
import { html } from "../lib/html.js";

/** A line without axes; `label` says what it shows. */
export function Spark({ data, label, tone = "", width = 96, height = 24 }) {
  if (data.length < 2) return null;
  const top = Math.max(1e-9, ...data);
  const step = width / (data.length - 1);
  const points = data.map(
    (value, at) =>
      `${(at * step).toFixed(1)},${(height - 2 - (value / top) * (height - 4)).toFixed(1)}`,
  );
  return html`<svg
    class=${`spark ${tone} ${width > 200 ? "wide" : ""}`}
    viewBox=${`0 0 ${width} ${height}`}
    width=${width}
    height=${height}
    role="img"
    aria-label=${label}
    preserveAspectRatio="none"
  >
    <path class="area" d=${`M0,${height} L${points.join(" L")} L${width},${height}Z`} />
    <path class="line" d=${`M${points.join(" L")}`} />
  </svg>`;
}

/** A part of a whole; the numbers stand beside it. */
export function Meter({ value, of, tone = "" }) {
  const share = of ? Math.min(100, (value / of) * 100) : 0;
  return html`<span class=${`meter ${tone}`} aria-hidden="true">
    <i style=${{ width: `${share}%` }} />
  </span>`;
}

/** The slots of a worker: squares up to twelve, else a bar. */
export function Slots({ busy, of }) {
  const squares = Array.from(
    { length: of },
    (_, slot) => html`<i key=${slot} class=${slot < busy ? "on" : ""} />`,
  );
  const figure =
    of <= 12
      ? html`<span class="squares" aria-hidden="true">${squares}</span>`
      : html`<${Meter} value=${busy} of=${of} />`;
  return html`<span class="slots">
    ${figure}<span class="n">${busy}<span class="dim">/${of}</span></span>
  </span>`;
}
