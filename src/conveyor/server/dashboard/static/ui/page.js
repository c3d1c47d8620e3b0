// The parts of a page: its head, its cards, and what stands in for data that is not there.
import { html, signal, useEffect } from "../lib/html.js";
import { me } from "../lib/api.js";
import { visible } from "../lib/foreign_text.js";
import { link } from "../lib/route.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** How many problems there are: it stands in the title of every page. */
export const alarms = signal(0);

export function Page({ title, sub, actions, children, back, status }) {
  const number = alarms.value;
  const name = visible(title);
  useEffect(() => {
    const instance = me.value?.instance || "";
    document.title = `${number ? `(${number}) ` : ""}${name} · Conveyor ${instance}`.trim();
  }, [name, number, me.value]);
  return html`<div class="page">
    <header class="head">
      <div class="title">
        ${back && html`<a class="back" href=${back[1]}><${Icon} name="left" />${back[0]}</a>`}
        <div class="line"><h1 tabindex="-1">${name}</h1>${status}</div>
        ${sub && html`<p class="sub">${sub}</p>`}
      </div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}
  </div>`;
}

export function Card({ title, note, children, kind = "", tools }) {
  return html`<section class=${`card ${kind}`}>
    ${
      title &&
      html`<header>
      <h2>${title}</h2>
      ${note && html`<span class="note">${note}</span>`}
      ${tools && html`<div class="tools">${tools}</div>`}
    </header>`
    }
    ${children}
  </section>`;
}

/** Names and values; entries that are false are left out. */
export function Facts({ of }) {
  return html`<dl class="facts">
    ${of
      .filter(Boolean)
      .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

export function Empty({ title, children, icon = "ok" }) {
  return html`<div class="empty">
    <${Icon} name=${icon} />
    <p class="strong">${title}</p>
    ${children && html`<p>${children}</p>`}
  </div>`;
}

export function Trouble({ error, retry }) {
  return html`<div class="empty bad" role="alert">
    <${Icon} name="bad" />
    <p class="strong">${error.title || error.message}</p>
    <p>${visible(error.detail || "")}</p>
    ${error.status === 403 && me.value?.queues.length > 0 && html`<${OwnQueues} names=${me.value.queues} />`}
    ${retry && html`<${Button} onClick=${retry}>Try again<//>`}
  </div>`;
}

/** What a token that is limited to queues may see instead of what is about all of them. */
function OwnQueues({ names }) {
  return html`<p>
    The token in use is limited to some queues. It sees these, and their jobs by their ids:${" "}
    ${names.map((name) => html`<a key=${name} href=${link(["queues", name])}>${visible(name)}</a> `)}
  </p>`;
}

function Skeleton({ rows }) {
  return html`<div class="skeleton" role="status">
    <span class="sr">Loading</span>
    ${Array.from({ length: rows }, (_, row) => html`<i key=${row} />`)}
  </div>`;
}

/** What `children(data)` returns, once there is data; until then a skeleton, or the error. */
export function Data({ of, children, rows = 8 }) {
  if (of.error) return html`<${Trouble} error=${of.error} retry=${of.reload} />`;
  return of.data === undefined ? html`<${Skeleton} rows=${rows} />` : children(of.data);
}

/** A box that scrolls, also by the keyboard. */
export function Scroll({ label, children, kind = "" }) {
  return html`<div class=${`scroll ${kind}`} role="region" aria-label=${label} tabindex="0">
    ${children}
  </div>`;
}
