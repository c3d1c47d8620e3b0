// The list of jobs: filtered by its address, standing still while one reads, and acted on in bulk.
import { html, useEffect, useState } from "../lib/html.js";
import { getPage } from "../lib/api.js";
import { useRead } from "../lib/data.js";
import { count, now, short } from "../lib/format.js";
import { completeJobs } from "../lib/jobs.js";
import { visible } from "../lib/foreign_text.js";
import { filterOf, filterWords, queryOf } from "../lib/job_filter.js";
import { link, route } from "../lib/route.js";
import { BulkBar, mayActOnMany } from "../ui/bulk.js";
import { Choice } from "../ui/button.js";
import { FilterBar } from "../ui/filter_bar.js";
import { Icon } from "../ui/icon.js";
import { JobTable } from "../ui/job_table.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { State, STATES } from "../ui/state.js";
import { get } from "../lib/api.js";

const ROWS = 50;

export function Jobs() {
  const { query } = route.value;
  const filter = filterOf(query);
  const isOldest = query.order === "oldest";
  const key = JSON.stringify(query);
  const list = useRead(`jobs ${key}`, () => readJobs(filter, query), 0);
  const { state, ...others } = filter;
  const countsKey = `counts ${JSON.stringify(others)}`;
  const counts = useRead(countsKey, () => get("bulk/counts", queryOf(others, now())), 2);
  const selection = useSelection(key);
  const fresh = useFresh(list, counts, state);
  const order = html`<${Choice}
    label="Order"
    current=${isOldest ? "oldest" : ""}
    options=${[
      ["", "Newest", link("jobs", { ...filter })],
      ["oldest", "Oldest", link("jobs", { ...filter, order: "oldest" })],
    ]}
  />`;
  return html`<${Page} title="Jobs" actions=${order}>
    <${FilterBar} query=${query} />
    <${StateTabs} query=${query} counts=${counts.data} state=${state} />
    ${
      fresh > 0 &&
      !query.before &&
      html`<button type="button" class="fresh" onClick=${list.reload}>
      <${Icon} name="up" />${count(fresh)} more since you looked
    </button>`
    }
    <${Data} of=${list}>
      ${(page) => {
        const matching = counts.data ? countText(counts.data, state) : "…";
        if (page.rows.length === 0 && page.next === null) return html`<${None} filter=${filter} />`;
        return html`<${Card} kind="flush">
          ${
            mayActOnMany() &&
            html`<${BulkBar}
            jobs=${page.rows}
            filter=${filter}
            selection=${selection}
            matching=${matching}
            isMore=${page.next !== null || query.before || query.after}
            reload=${list.reload}
          />`
          }
          <${JobTable} jobs=${page.rows} selection=${mayActOnMany() ? selection : null} />
          <${Pager} page=${page} query=${query} matching=${matching} />
        <//>`;
      }}
    <//>
  <//>`;
}

async function readJobs(filter, { order, before, after }) {
  const place = order === "oldest" ? { order, after } : { before };
  const query = { ...queryOf(filter, now()), ...place, limit: ROWS, include: "options,summary" };
  return completeJobs(await getPage("jobs", query));
}

function StateTabs({ query, counts, state = "" }) {
  const tab = (one) => {
    const number = counts ? countText(counts, one, short) : "…";
    const href = link("jobs", { ...filterOf(query), order: query.order, state: one });
    return html`<a key=${one} href=${href} aria-current=${state === one ? "true" : undefined}>
      ${one ? html`<${State} is=${one} />` : "all"}<b>${number}</b>
    </a>`;
  };
  return html`<nav class="statetabs" aria-label="State">${["", ...STATES].map(tab)}</nav>`;
}

/** How many jobs there are in some states, "" for all: a number, or at least that many. */
function countText({ counts, is_complete: isComplete }, state, format = count) {
  const states = state ? state.split(",") : STATES;
  const numbers = states.map((each) => counts[each] ?? 0);
  const isCapped = numbers.some((number) => number >= 10000) || !isComplete;
  return `${format(numbers.reduce((sum, number) => sum + number, 0))}${isCapped ? "+" : ""}`;
}

const totalOf = ({ counts }, state) =>
  (state ? state.split(",") : STATES).reduce((sum, each) => sum + (counts[each] ?? 0), 0);

/** How many more jobs match now than when the list was read. */
function useFresh(list, counts, state) {
  const [base, setBase] = useState(null);
  useEffect(() => setBase(null), [list.at]);
  const total = counts.data ? totalOf(counts.data, state) : null;
  useEffect(() => {
    if (base === null && total !== null && counts.at > (list.at ?? Infinity)) setBase(total);
  }, [total, counts.at, base]);
  return base === null || total === null ? 0 : total - base;
}

function useSelection(key) {
  const [picked, setPicked] = useState(new Set());
  const [isAll, setAll] = useState(false);
  const set = (ids, all = false) => {
    setPicked(new Set(ids));
    setAll(all);
  };
  useEffect(() => set([]), [key]);
  useEffect(() => {
    const clear = (event) => {
      if (event.key === "Escape" && !event.target.closest("input, dialog")) set([]);
    };
    addEventListener("keydown", clear);
    return () => removeEventListener("keydown", clear);
  }, []);
  return {
    isAll,
    size: picked.size,
    has: (id) => picked.has(id),
    ids: () => [...picked],
    toggle: (id) => set(picked.has(id) ? [...picked].filter((one) => one !== id) : [...picked, id]),
    take: (jobs) => set(jobs.map((job) => job.id)),
    takeAll: () => set(picked, true),
    clear: () => set([]),
  };
}

function Pager({ page, query, matching }) {
  const isOldest = query.order === "oldest";
  const cursor = isOldest ? "after" : "before";
  const next = link("jobs", { ...query, [cursor]: page.next });
  return html`<footer class="pager">
    <span class="dim">
      ${count(page.rows.length)} of ${matching}, ${isOldest ? "oldest" : "newest"} first
      ${page.rows.length < ROWS && page.next !== null && " · not all was searched yet"}
    </span>
    <span>
      ${
        query[cursor] &&
        html`<a class="btn small" href=${link("jobs", { ...query, [cursor]: "" })}>First page</a>`
      }
      ${
        page.next !== null &&
        html`<a class="btn small" href=${next}>${page.rows.length < ROWS ? "Search on" : `Next ${ROWS}`}</a>`
      }
    </span>
  </footer>`;
}

function None({ filter }) {
  const words = visible(filterWords(filter));
  return html`<${Empty} icon="search" title="No job matches">
    ${words ? html`Nothing is stored that fits <code>${words}</code>.` : "No job is stored."} Jobs that
    ended are kept for a while only, see <code>keep_completed</code> and its neighbours.
    ${words && html` <a href="#/jobs">Show all jobs</a>`}
  <//>`;
}
