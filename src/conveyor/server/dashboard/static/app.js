// Starts the dashboard: who looks, then the frame with the page of the present address.
import { html, render, useEffect, useState } from "./lib/html.js";
import { get, me, signedOut } from "./lib/api.js";
import { connection, listen } from "./lib/live.js";
import { route } from "./lib/route.js";
import { Messages, Question } from "./ui/dialog.js";
import { Bar, LostBanner, overlay, Side } from "./ui/frame.js";
import { KeyList, listenToKeys } from "./ui/keys.js";
import { Trouble } from "./ui/page.js";
import { Palette } from "./ui/palette.js";
import { Audit } from "./pages/audit.js";
import { FailurePage, Failures } from "./pages/failures.js";
import { JobPage } from "./pages/job.js";
import { Jobs } from "./pages/jobs.js";
import { Login } from "./pages/login.js";
import { Overview } from "./pages/overview.js";
import { QueuePage } from "./pages/queue.js";
import { Queues } from "./pages/queues.js";
import { Scaler } from "./pages/scaler.js";
import { Schedules } from "./pages/schedules.js";
import { WorkerPage } from "./pages/worker.js";
import { Workers } from "./pages/workers.js";

/** By the first part of the address: the page, and the page of one of its entries. */
const PAGES = {
  overview: [Overview],
  queues: [Queues, QueuePage],
  jobs: [Jobs],
  job: [null, JobPage],
  failures: [Failures, FailurePage],
  workers: [Workers, WorkerPage],
  schedules: [Schedules],
  scaler: [Scaler],
  audit: [Audit],
};

function App() {
  const [error, setError] = useState(null);
  const begin = async () => {
    try {
      me.value = await get("me");
      setError(null);
      listen();
    } catch (failure) {
      if (failure.status !== 401) setError(failure);
    }
  };
  useEffect(() => void begin(), []);
  if (signedOut.value) return html`<${Login} onEnter=${begin} />`;
  if (error)
    return html`<main id="main" class="page"><${Trouble} error=${error} retry=${begin} /></main>`;
  if (me.value === null) return html`<p class="boot">Conveyor is loading …</p>`;
  return html`<${Frame} />`;
}

function Frame() {
  const [name = "overview", ...rest] = route.value.parts;
  const id = rest.join("/");
  const Body = PAGES[name]?.[id ? 1 : 0];
  const at = name === "job" ? "jobs" : name;
  return html`<div class=${`frame ${connection.value}`}>
      <${Side} at=${at} /><${Bar} at=${at} />
      <main id="main">
        <${LostBanner} />
        ${Body ? html`<${Body} key=${`${name}/${id}`} id=${id} />` : html`<${NoPage} />`}
      </main>
    </div>
    <${Messages} /><${Question} />
    ${overlay.value === "find" && html`<${Palette} />`}
    ${overlay.value === "keys" && html`<${KeyList} />`}
    <span id="probe" hidden />`;
}

function NoPage() {
  return html`<div class="page">
    <h1 tabindex="-1">There is no such page</h1>
    <p><a href="#/overview">To the overview</a></p>
  </div>`;
}

// An address after # is a page, so the link to the content needs a script.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("h1")?.focus();
});
listenToKeys();
const root = document.getElementById("root");
root.textContent = "";
render(html`<${App} />`, root);
