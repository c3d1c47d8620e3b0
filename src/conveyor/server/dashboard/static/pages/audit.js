// What was done by hand: who, what, to what, and why.
import { html, useState } from "../lib/html.js";
import { getPage } from "../lib/api.js";
import { useRead } from "../lib/data.js";
import { count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { go, link, route } from "../lib/route.js";
import { commandLine } from "../lib/shell.js";
import { Cli } from "../ui/button.js";
import { Name } from "../ui/name.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { Table } from "../ui/table.js";
import { When } from "../ui/time.js";

const ROWS = 100;
const FIELDS = ["who", "what", "subject"];

const COLUMNS = [
  { head: "When", cell: (entry) => html`<${When} at=${entry.at} />` },
  {
    head: "Who",
    hide: "s",
    cell: (entry) => html`<span class="strong"><${Name} of=${entry.who} /></span>`,
  },
  { head: "Did", hide: "s", cell: (entry) => visible(entry.what) },
  {
    head: "To what",
    kind: "grow wraps",
    cell: (
      entry,
    ) => html`<span class="only-s"><strong><${Name} of=${entry.who} /></strong> ${visible(entry.what)}</span>
      <${Name} of=${entry.subject} />
      ${entry.detail && html`<span class="args line">${visible(entry.detail)}</span>`}
      ${entry.reason && html`<span class="args only-s">“${visible(entry.reason)}”</span>`}`,
  },
  { head: "Jobs", isNumber: true, hide: "s", cell: (entry) => count(entry.count ?? 1) },
  {
    head: "Why",
    hide: "s",
    kind: "grow wraps",
    cell: (entry) =>
      entry.reason ? visible(entry.reason) : html`<span class="dim">no reason given</span>`,
  },
  {
    head: "From",
    hide: "m",
    cell: (entry) => html`<span class="dim"><${Name} of=${entry.where} /></span>`,
  },
];

export function Audit() {
  const { query } = route.value;
  const filter = Object.fromEntries(FIELDS.map((field) => [field, query[field] ?? ""]));
  const key = JSON.stringify(query);
  const read = () => getPage("audit", { ...filter, before: query.before, limit: ROWS });
  const audit = useRead(`audit ${key}`, read, query.before ? 0 : 3);
  const isFiltered = Object.values(filter).some(Boolean);
  return html`<${Page}
    title="Audit"
    sub="What was done by hand, by whom, and why. Entries are only ever added."
  >
    <${AuditFilter} key=${key} filter=${filter} />
    <${Data} of=${audit}>
      ${({ rows, next }) =>
        rows.length === 0
          ? html`<${Empty} icon="search" title=${isFiltered ? "No entry matches" : "Nothing was done yet"}>
              ${isFiltered && html`<a href="#/audit">Show all</a>`}
            <//>`
          : html`<${Card} kind="flush">
              <${Table}
                caption="Audit, newest first"
                rows=${rows}
                id=${(entry) => entry.seq}
                columns=${COLUMNS}
              />
              <footer class="pager">
                <span class="dim">newest first</span>
                <span>
                  ${
                    next !== null &&
                    html`<a class="btn small" href=${link("audit", { ...query, before: next })}>Next ${ROWS}</a>`
                  }
                </span>
              </footer>
            <//>`}
    <//>
    <${Cli} command=${commandLine("conveyor", "audit")} />
  <//>`;
}

function AuditFilter({ filter }) {
  const [given, setGiven] = useState(filter);
  const submit = (event) => {
    event.preventDefault();
    go(link("audit", given));
  };
  return html`<form class="auditfilter" onSubmit=${submit}>
    ${FIELDS.map(
      (field) => html`<label key=${field}>
        <span class="sr">${field}</span>
        <input
          data-filter
          name=${field}
          placeholder=${{ who: "Who", what: "Did", subject: "To what" }[field]}
          value=${given[field]}
          onInput=${(event) => setGiven({ ...given, [field]: event.target.value })}
        />
      </label>`,
    )}
    <button class="btn">Filter</button>
  </form>`;
}
