// The list of all queues.
import { html, useState } from "../lib/html.js";
import { useData } from "../lib/data.js";
import { count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { FilterBox } from "../ui/button.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { QueueTable } from "../ui/queue_table.js";

const MOST = 1000;

export function Queues() {
  const [text, setText] = useState("");
  const [sort, setSort] = useState(null);
  const overview = useData("overview", { minutes: 60, queues: MOST });
  const filter = html`<${FilterBox} label="Only queues called" value=${text} onInput=${setText} />`;
  return html`<${Page}
    title="Queues"
    sub="Those in trouble first, then by name: rows stay where they are while numbers change."
    actions=${filter}
  >
    <${Data} of=${overview}>
      ${({ queues, queues_total: total }) => {
        const rows = queues.filter((queue) => queue.name.includes(text));
        if (rows.length === 0) return html`<${None} text=${text} clear=${() => setText("")} />`;
        return html`<${Card} kind="flush">
            <${QueueTable} queues=${rows} sort=${sort} setSort=${setSort} />
          <//>
          ${
            total > queues.length &&
            html`<p class="pad dim">${count(queues.length)} of ${count(total)} queues are shown.</p>`
          }`;
      }}
    <//>
  <//>`;
}

function None({ text, clear }) {
  if (text === "") {
    return html`<${Empty} icon="queues" title="There is no queue yet">
      A queue exists from its first job: <code>conveyor enqueue TASK</code>
    <//>`;
  }
  return html`<${Empty} icon="search" title=${`No queue is called “${visible(text)}”`}>
    <button type="button" class="linkish" onClick=${clear}>Show all queues</button>
  <//>`;
}
