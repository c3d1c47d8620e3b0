// Lines over time, by uPlot. Each series has a name, a dash of its own and a column in the table
// behind the chart: nothing is told by colour alone.
import uPlot from "../vendor/uplot.mjs";
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { count, minute } from "../lib/format.js";
import { Scroll } from "./page.js";
import { themeChanged } from "./theme.js";

const DASHES = { solid: [], dash: [5, 4], dots: [1.5, 3] };
const FONT = "11px system-ui, sans-serif";
// Steps of an axis of durations, in seconds.
const DURATIONS = [
  0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 86400,
];

/**
 * times: Unix seconds. series: { name, data, color, dash, fill, isStepped }. marks: { at, text }.
 * `format(value)` is for people; `axis(value)` for the axis.
 */
export function Chart({
  times,
  series,
  marks = [],
  unit,
  label,
  format = count,
  axis,
  isDuration,
}) {
  const [isTable, setTable] = useState(false);
  const [hovered, setHovered] = useState(null);
  const at = hovered ?? times.length - 1;
  const latest = series.map((each) => `${each.name} ${format(each.data.at(-1))}`).join(", ");
  return html`<figure class="chart">
    <figcaption>
      <span class="legend">
        ${series.map(
          (each) => html`<span key=${each.name} class=${`key ${each.color}`}>
            <svg viewBox="0 0 18 8" aria-hidden="true">
              <path d="M0 4h18" stroke-dasharray=${DASHES[each.dash || "solid"].join(" ")} />
            </svg>
            ${each.name} <b>${format(each.data[at])}</b>
          </span>`,
        )}
      </span>
      <span class="note">${hovered === null ? unit : minute(times[at])}</span>
      <button
        type="button"
        class="linkish"
        aria-pressed=${isTable}
        onClick=${() => setTable(!isTable)}
      >
        ${isTable ? "Chart" : "Table"}
      </button>
    </figcaption>
    ${
      isTable
        ? html`<${ValueTable} ...${{ times, series, label, format }} />`
        : html`<${Plot}
          ...${{ times, series, marks, isDuration, setHovered, axis: axis || format }}
          label=${`${label}: ${latest} now`}
        />`
    }
  </figure>`;
}

function Plot({ times, series, marks, axis, isDuration, setHovered, label }) {
  const box = useRef();
  const plot = useRef(null);
  const live = useRef({});
  live.current = { marks, axis };
  const data = [times, ...series.map((each) => each.data)];
  useEffect(() => {
    const options = plotOptions(box.current, series, isDuration, live, setHovered);
    plot.current = new uPlot(options, data, box.current);
    const watch = new ResizeObserver(([entry]) => {
      const width = Math.max(220, Math.floor(entry.contentRect.width));
      if (Math.abs(plot.current.width - width) > 1) {
        plot.current.setSize({ width, height: options.height });
      }
    });
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
    };
  }, [series.length, themeChanged.value]);
  const newest = series.map((each) => each.data.at(-1)).join();
  useEffect(() => plot.current?.setData(data), [times[0], times.length, newest]);
  return html`<div class="plot" ref=${box} role="img" aria-label=${label} />`;
}

function plotOptions(box, series, isDuration, live, setHovered) {
  const ink = colorOf("dim");
  return {
    width: Math.max(220, box.clientWidth),
    height: 168,
    padding: [14, 16, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    select: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      {
        ...{ stroke: ink, font: FONT, size: 22, gap: 4, space: 64 },
        grid: { show: false },
        ticks: { show: false },
        values: (_, values) => values.map(minute),
      },
      {
        ...{ stroke: ink, font: FONT, size: 52, gap: 4, space: 30 },
        incrs: isDuration ? DURATIONS : undefined,
        grid: { stroke: colorOf("grid"), width: 1 },
        ticks: { show: false },
        values: (_, values) => values.map((value) => live.current.axis(value)),
      },
    ],
    series: [{}, ...series.map(lineOptions)],
    hooks: {
      setCursor: [(drawn) => setHovered(drawn.cursor.idx ?? null)],
      draw: [(drawn) => drawMarks(drawn, live.current.marks)],
    },
  };
}

function lineOptions({ name, color, dash = "solid", fill, width = 1.5, isStepped }) {
  const stroke = colorOf(color);
  return {
    label: name,
    stroke,
    width,
    dash: DASHES[dash],
    points: { show: false },
    paths: isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    fill: fill ? stroke.replace("rgb(", "rgba(").replace(")", `, ${fill})`) : undefined,
  };
}

/** Deploys and notes: a dotted line with its text, unless that would lie over the last one. */
function drawMarks(drawn, marks) {
  const { ctx, bbox } = drawn;
  const scale = devicePixelRatio;
  let free = -Infinity;
  ctx.save();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.strokeStyle = ctx.fillStyle = colorOf("text2");
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 2 * scale]);
  for (const mark of [...marks].sort((a, b) => a.at - b.at)) {
    const x = drawn.valToPos(mark.at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const width = ctx.measureText(mark.text).width;
    const isLeft = x + width + 8 * scale > bbox.left + bbox.width;
    const start = isLeft ? x - width - 4 * scale : x + 4 * scale;
    if (start < free) continue;
    ctx.textAlign = "left";
    ctx.fillText(mark.text, start, bbox.top - 3 * scale);
    free = start + width + 8 * scale;
  }
  ctx.restore();
}

/** The colour of the theme, as a canvas needs it. */
function colorOf(name) {
  const probe = document.getElementById("probe");
  probe.className = `probe-${name}`;
  return getComputedStyle(probe).color;
}

function ValueTable({ times, series, label, format }) {
  return html`<${Scroll} label=${label} kind="short">
    <table class="table tight">
      <caption class="sr">${label}</caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          ${series.map((each) => html`<th scope="col" class="num" key=${each.name}>${each.name}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${times
          .map(
            (time, row) => html`<tr key=${time}>
              <td>${minute(time)}</td>
              ${series.map(
                (each) => html`<td class="num" key=${each.name}>${format(each.data[row])}</td>`,
              )}
            </tr>`,
          )
          .reverse()}
      </tbody>
    </table>
  <//>`;
}
