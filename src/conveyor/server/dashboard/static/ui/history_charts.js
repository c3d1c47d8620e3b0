// The two charts of the overview and of a queue: what came and went, and how long jobs waited.
import { html } from "../lib/html.js";
import { brief, short, span } from "../lib/format.js";
import { seriesOf } from "../lib/history.js";
import { Card } from "./page.js";
import { Chart } from "./chart.js";

const axisOfDurations = (value) => (value === 0 ? "0" : brief(value));

export function HistoryCharts({ history, marks, unit, isOfAllQueues }) {
  const drawn = seriesOf(history);
  const jobs = [
    { name: "enqueued", data: drawn.enqueued, color: "c-in", dash: "dash" },
    { name: "completed", data: drawn.completed, color: "c-ok", fill: 0.1, width: 2 },
    { name: "failed attempts", data: drawn.failed, color: "c-bad", dash: "dots", width: 2 },
  ];
  const high = isOfAllQueues
    ? { name: "worst queue, p95", data: drawn.worst }
    : { name: "p95", data: drawn.waitingHigh };
  const waiting = [
    { name: "median", data: drawn.waitingMiddle, color: "c-ok", width: 2 },
    { ...high, color: "c-text", dash: "dash" },
  ];
  return html`<div class="grid two">
    <${Card} title="Jobs">
      <${Chart}
        label="Jobs"
        times=${drawn.times}
        series=${jobs}
        marks=${marks}
        unit=${unit}
        format=${short}
      />
    <//>
    <${Card} title="Waiting time">
      <${Chart}
        label="Waiting time before a job starts"
        times=${drawn.times}
        series=${waiting}
        marks=${marks}
        unit="before a job starts"
        format=${span}
        axis=${axisOfDurations}
        isDuration
      />
    <//>
  </div>`;
}
