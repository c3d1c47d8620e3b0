// The frame around every page: navigation, health, the state of the connection, who looks.
import { html, signal, useEffect } from "../lib/html.js";
import { me, remove, signedOut } from "../lib/api.js";
import { connect, connection, hangUp, heardAt, pause, retryAt, second, snapshot } from "../lib/live.js";
import { countOf, now } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { Modal, tellError } from "./dialog.js";
import { Icon, Logo } from "./icon.js";
import { Name } from "./name.js";
import { alarms } from "./page.js";
import { themeName, turnTheme } from "./theme.js";
import { When } from "./time.js";

/** What lies over the page: "", "find", "keys" or "more". */
export const overlay = signal("");

/** Key of the page in its address, name, and the key after g. */
export const PAGES = [
  ["overview", "Overview", "o"],
  ["queues", "Queues", "q"],
  ["jobs", "Jobs", "j"],
  ["failures", "Failures", "f"],
  ["workers", "Workers", "w"],
  ["schedules", "Schedules", "s"],
  ["scaler", "Scaler", "c"],
  ["audit", "Audit", "a"],
];
const FIRST = 4; // pages that a narrow screen shows at once

function healthOf() {
  if (connection.value === "lost") return ["info", "Not connected"];
  const { health } = snapshot.value ?? {};
  if (health === undefined) return ["info", "…"];
  if (health === null) return ["bad", "No store"];
  if (health.bad) return ["bad", countOf(health.bad, "problem")];
  return health.warn ? ["warn", `${health.warn} to look at`] : ["ok", "All is well"];
}

function Health() {
  const [level, text] = healthOf();
  const bad = snapshot.value?.health?.bad ?? 0;
  useEffect(() => {
    alarms.value = bad;
    const icon = document.querySelector("link[rel=icon]");
    const name = `icon-${level === "info" ? "warn" : level}.svg`;
    if (!icon.href.endsWith(name)) icon.href = icon.href.replace(/icon-\w+\.svg$/, name);
  }, [level, bad]);
  return html`<a class=${`health ${level}`} href="#/overview"><${Icon} name=${level} /><span>${text}</span></a>`;
}

const LIVE = {
  live: ["Live", "Live: at most 4 messages a second. Pause updates (p)"],
  connecting: ["Connecting", "Connecting"],
  polling: ["Every 5 s", "Without a stream: read every 5 seconds. Pause updates (p)"],
  paused: ["Paused", "Updates are paused. Go on (p)"],
  lost: ["Lost", "Not connected. Try now"],
};

function LiveButton() {
  const is = connection.value;
  const [text, label] = LIVE[is];
  const onClick = () => (is === "lost" ? connect() : pause(is !== "paused"));
  return html`<button
    type="button"
    class=${`livebtn ${is}`}
    aria-label=${label}
    title=${label}
    onClick=${onClick}
  >
    <span class="dot" aria-hidden="true" /><span>${text}</span>
  </button>`;
}

const pageLink = (at, [key, name]) => html`<a
  href=${`#/${key}`}
  aria-current=${at === key ? "page" : undefined}
  onClick=${() => (overlay.value = "")}
>
  <${Icon} name=${key} /><span>${name}</span>
</a>`;

async function signOut() {
  try {
    await remove("session");
    me.value = null;
    signedOut.value = true;
    hangUp();
  } catch (error) {
    tellError(error);
  }
}

function Who() {
  const { name, role, has_session: hasSession } = me.value ?? {};
  const text = html`<span class="name"><${Name} of=${hasSession ? name.replace(/^\w+ /, "") : "No token needed"} /></span>
    <span class="role">${role}</span>`;
  return hasSession
    ? html`<button type="button" class="who" title="Sign out" onClick=${signOut}>${text}<span class="sr">, sign out</span></button>`
    : html`<span class="who">${text}</span>`;
}

const themeLabel = () => `Theme: ${themeName()}. Change it`;

export function Side({ at }) {
  return html`<aside class="side">
    <a class="brand" href="#/overview"><${Logo} /><span>Conveyor</span></a>
    <span class="instance">${visible(me.value?.instance ?? "")}</span>
    <${Health} />
    <button type="button" class="search" onClick=${() => (overlay.value = "find")}>
      <${Icon} name="search" /><span>Find or do</span><kbd>/</kbd>
    </button>
    <nav aria-label="Main">
      <ul>
        ${PAGES.map((page) => html`<li key=${page[0]}>${pageLink(at, page)}</li>`)}
      </ul>
    </nav>
    <div class="foot">
      <${LiveButton} />
      <button type="button" class="iconbtn" aria-label=${themeLabel()} title=${themeLabel()} onClick=${turnTheme}>
        <${Icon} name="theme" />
      </button>
      <button type="button" class="iconbtn" aria-label="Keys" title="Keys (?)" onClick=${() => (overlay.value = "keys")}>
        ?
      </button>
      <${Who} />
    </div>
  </aside>`;
}

/** The head and the tabs of a narrow screen. */
export function Bar({ at }) {
  const close = () => (overlay.value = "");
  return html`<header class="bar">
      <a class="brand" href="#/overview" aria-label="Conveyor, overview"><${Logo} /></a>
      <${Health} /><${LiveButton} />
      <button type="button" class="iconbtn" aria-label="Find or do" onClick=${() => (overlay.value = "find")}>
        <${Icon} name="search" />
      </button>
    </header>
    <nav class="tabs" aria-label="Main, narrow screen">
      ${PAGES.slice(0, FIRST).map((page) => pageLink(at, page))}
      <button type="button" aria-expanded=${overlay.value === "more"} onClick=${() => (overlay.value = "more")}>
        <${Icon} name="more" /><span>More</span>
      </button>
    </nav>
    ${
      overlay.value === "more" &&
      html`<${Modal} title="More" kind="sheet" close=${close}>
      <ul class="menu">
        ${PAGES.slice(FIRST).map((page) => html`<li key=${page[0]}>${pageLink(at, page)}</li>`)}
        <li>
          <button type="button" onClick=${turnTheme}><${Icon} name="theme" />Theme: ${themeName()}</button>
        </li>
        ${
          me.value?.has_session &&
          html`<li><button type="button" onClick=${signOut}><${Icon} name="left" />Sign out</button></li>`
        }
      </ul>
    <//>`
    }`;
}

/** Says that what is shown is old, and how old. */
export function LostBanner() {
  second.value;
  if (connection.value !== "lost") return null;
  const left = Math.max(0, Math.ceil(retryAt.value - now()));
  return html`<div class="lost" role="alert">
    <${Icon} name="bad" />
    <span>
      <strong>The connection is lost.</strong> What you see is as of <${When} at=${heardAt.value} />.
      Actions wait until it is back. Next try in ${left} s.
    </span>
    <button type="button" class="btn small" onClick=${connect}>Try now</button>
  </div>`;
}
