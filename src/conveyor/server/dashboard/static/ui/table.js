// Tables: the same head, keys and narrow form on every page.
import { html } from "../lib/html.js";
import { Icon } from "./icon.js";
import { Scroll } from "./page.js";

/**
 * columns: { head, cell(row), isNumber, hide: "s" | "m", kind, title, isHidden, sort(row) }; false
 * leaves one out. `open(row)` makes rows clickable; their first link does the same by keyboard.
 */
export function Table({ caption, columns, rows, id, open, isSelected, level, sort, setSort }) {
  const shown = columns.filter(Boolean);
  return html`<${Scroll} label=${caption}>
    <table class="table">
      <caption class="sr">${caption}</caption>
      <thead>
        <tr>
          ${shown.map((column) => html`<${Head} key=${column.head} ...${{ column, sort, setSort }} />`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr
            key=${id(row)}
            class=${rowClass(row, { open, isSelected, level })}
            onClick=${open && ((event) => opens(event) && open(row))}
          >
            ${shown.map(
              (column) =>
                html`<td key=${column.head} class=${cellClass(column)}>${column.cell(row)}</td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  <//>`;
}

function Head({ column, sort, setSort }) {
  const direction = sort?.head === column.head ? sort.direction : 0;
  const order = direction > 0 ? "ascending" : "descending";
  return html`<th
    scope="col"
    class=${cellClass(column)}
    aria-sort=${direction ? order : undefined}
  >
    ${headText(column, direction, setSort)}
  </th>`;
}

function headText(column, direction, setSort) {
  if (column.isHidden) return html`<span class="sr">${column.head}</span>`;
  if (column.sort && setSort) {
    const next = direction ? -direction : column.isNumber ? -1 : 1;
    return html`<button
      type="button"
      class="sorter"
      onClick=${() => setSort({ head: column.head, direction: next })}
    >
      ${column.head}${direction !== 0 && html`<${Icon} name=${direction > 0 ? "up" : "down"} />`}
    </button>`;
  }
  return column.title ? html`<abbr title=${column.title}>${column.head}</abbr>` : column.head;
}

const cellClass = (column) =>
  [column.isNumber && "num", column.hide && `hide-${column.hide}`, column.kind]
    .filter(Boolean)
    .join(" ");

const rowClass = (row, { open, isSelected, level }) =>
  [open && "go", isSelected?.(row) && "sel", level?.(row) && `lv-${level(row)}`]
    .filter(Boolean)
    .join(" ");

/** A click opens the row, unless it was for something in it or selected text. */
const opens = (event) =>
  !event.target.closest("a, button, input, label") && !getSelection().toString();

/** The rows in the order that the viewer has chosen, else as they are. */
export function sorted(rows, columns, sort) {
  const by = sort && columns.find((column) => column && column.head === sort.head)?.sort;
  if (!by) return rows;
  const compare = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0) * sort.direction;
  return [...rows].sort(compare);
}
