// Workers and agents by host, those out of line first.
import { html } from "../lib/html.js";
import { getAll } from "../lib/api.js";
import { useRead } from "../lib/data.js";
import { bytes, count } from "../lib/format.js";
import { visible } from "../lib/foreign_text.js";
import { go, link, route } from "../lib/route.js";
import { isAgent, isServer, shortName, standingOf } from "../lib/workers.js";
import { Action } from "../ui/button.js";
import { Slots } from "../ui/figures.js";
import { Icon } from "../ui/icon.js";
import { Name, Worker, workerLink } from "../ui/name.js";
import { removeWorker, resumeWorker } from "../ui/orders.js";
import { Card, Data, Empty, Page } from "../ui/page.js";
import { State } from "../ui/state.js";
import { Table } from "../ui/table.js";
import { When } from "../ui/time.js";

const STANDINGS = ["silent", "sick", "draining", "quiet", "busy", "working", "idle"];
const ODD = new Set(["silent", "sick", "draining", "quiet"]);
const MEANING = {
  silent: "Its jobs return to their queues when their leases expire.",
  sick: "Its machine cannot start some jobs.",
  draining: "It exits once its last job has ended.",
  quiet: "It claims nothing until somebody resumes it.",
};

export function Workers() {
  const workers = useRead("workers", () => getAll("workers"), 1);
  return html`<${Page} title="Workers" sub="By host. A square is a slot; a full one runs a job.">
    <${Data} of=${workers}>${(all) => html`<${Fleet} all=${all} />`}<//>
  <//>`;
}

function Fleet({ all }) {
  const { standing = "", host = "", queue = "", label = "" } = route.value.query;
  const fits = (worker) =>
    (!host || worker.host === host) &&
    (!queue || worker.queues.includes(queue)) &&
    (!label || worker.labels.some((each) => each.split("!")[0] === label));
  const list = all.filter((worker) => !isServer(worker)).filter(fits);
  const rows = list.filter((worker) => !standing || standingOf(worker) === standing);
  const odd = rows.filter((worker) => ODD.has(standingOf(worker)));
  const servers = all.filter(isServer);
  const others = { host, queue, label };
  return html`<${Standings} list=${list} standing=${standing} others=${others} />
    ${
      odd.length > 0 &&
      !standing &&
      html`<${Card} title="Out of line" kind="flush"><${OddTable} rows=${odd} /><//>`
    }
    ${
      rows.length > 0
        ? html`<div class="hosts">
          ${byHost(rows).map(([name, each]) => html`<${Host} key=${name} name=${name} workers=${each} />`)}
        </div>`
        : html`<${None} isFiltered=${Boolean(standing || host || queue || label)} />`
    }
    ${
      servers.length > 0 &&
      html`<p class="pad dim">
      Maintenance also runs in ${servers.map((each) => html`<${Name} key=${each.id} of=${each.id} /> `)}
    </p>`
    }`;
}

const rank = (worker) => STANDINGS.indexOf(standingOf(worker));

/** Hosts with workers that are out of line first, then by name. */
function byHost(workers) {
  const hosts = new Map();
  for (const worker of workers) hosts.set(worker.host, [...(hosts.get(worker.host) ?? []), worker]);
  const worst = (list) => Math.min(4, ...list.map(rank));
  return [...hosts].sort(([a, one], [b, other]) => worst(one) - worst(other) || (a < b ? -1 : 1));
}

function Standings({ list, standing, others }) {
  const tab = (one) => {
    const number = one ? list.filter((worker) => standingOf(worker) === one).length : list.length;
    return html`<a
      key=${one}
      href=${link("workers", { ...others, standing: one })}
      aria-current=${standing === one ? "true" : undefined}
    >
      ${one ? html`<${State} is=${one} />` : "all"}<b>${number}</b>
    </a>`;
  };
  const filter = Object.values(others).find(Boolean);
  return html`<nav class="statetabs" aria-label="Standing">
    ${["", ...STANDINGS].map(tab)}
    ${
      filter &&
      html`<span class="token">
      <bdi>${visible(filter)}</bdi>
      <a href="#/workers" aria-label="Remove the filter"><${Icon} name="close" /></a>
    </span>`
    }
  </nav>`;
}

function Host({ name, workers }) {
  const sum = (read) => workers.reduce((total, worker) => total + read(worker), 0);
  const kind = workers.every(isAgent) ? "agents" : "workers";
  return html`<section class="host card">
    <header>
      <h2><a href=${link("workers", { host: name })}><${Name} of=${name} /></a></h2>
      <span class="note">
        ${count(workers.length)} ${workers.length === 1 ? kind.slice(0, -1) : kind} ·${" "}
        ${count(sum((each) => each.running))}/${count(sum((each) => each.slots))} slots
        ${sum((each) => each.rss) > 0 && ` · ${bytes(sum((each) => each.rss))}`}
      </span>
    </header>
    <ul>
      ${workers.map((worker) => {
        const standing = standingOf(worker);
        return html`<li key=${worker.id} class=${standing}>
          <a href=${workerLink(worker.id)}>
            <span class="nm"><${Name} of=${shortName(worker)} /></span>
            <${State} is=${standing} /><${Slots} busy=${worker.running} of=${worker.slots} />
          </a>
        </li>`;
      })}
    </ul>
  </section>`;
}

function OddTable({ rows }) {
  return html`<${Table}
    caption="Workers out of line"
    rows=${rows}
    id=${(worker) => worker.id}
    open=${(worker) => go(workerLink(worker.id))}
    columns=${[
      { head: "Worker", cell: (worker) => html`<${Worker} id=${worker.id} kind="strong" />` },
      { head: "State", cell: (worker) => html`<${State} is=${standingOf(worker)} />` },
      {
        head: "Slots",
        hide: "s",
        cell: (worker) => html`<${Slots} busy=${worker.running} of=${worker.slots} />`,
      },
      {
        head: "Last heartbeat",
        isNumber: true,
        hide: "s",
        cell: (worker) => html`<${When} at=${worker.beat_at} />`,
      },
      {
        head: "What it means",
        hide: "m",
        kind: "grow",
        cell: (worker) => html`<span class="dim">${MEANING[standingOf(worker)]}</span>`,
      },
      {
        head: "Action",
        isHidden: true,
        kind: "end",
        cell: (worker) => html`<${OddAction} of=${worker} />`,
      },
    ]}
  />`;
}

function OddAction({ of: worker }) {
  const standing = standingOf(worker);
  if (standing === "quiet") {
    const label = `Resume ${worker.id}`;
    return html`<${Action} small call="order" icon="play" label=${label} onClick=${() => resumeWorker(worker.id)}>
      Resume
    <//>`;
  }
  if (standing !== "silent") return null;
  const remove = () => removeWorker(worker.id);
  return html`<${Action} small call="dismiss" kind="harm" label=${`Remove ${worker.id}`} onClick=${remove}>
    Remove
  <//>`;
}

function None({ isFiltered }) {
  if (!isFiltered) {
    return html`<${Empty} icon="workers" title="No worker runs">
      Start one: <code>conveyor worker app:belt</code>
    <//>`;
  }
  return html`<${Empty} icon="search" title="No worker is like that now">
    <a href="#/workers">Show all</a>
  <//>`;
}
