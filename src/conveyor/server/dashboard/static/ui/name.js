// Names that others gave, and links to what they name.
import { html } from "../lib/html.js";
import { visible } from "../lib/foreign_text.js";
import { link } from "../lib/route.js";

/** A name as text that cannot reorder what is around it. */
export const Name = ({ of }) => html`<bdi>${visible(of)}</bdi>`;

export const queueLink = (name) => link(["queues", name]);
export const jobLink = (id) => link(["job", id]);
export const workerLink = (id) => link(["workers", id]);
export const failureLink = (fingerprint) => link(["failures", fingerprint]);
export const jobsLink = (query) => link("jobs", query);

export const Queue = ({ name, kind = "" }) =>
  html`<a class=${kind} href=${queueLink(name)}><${Name} of=${name} /></a>`;
export const Worker = ({ id, kind = "" }) =>
  html`<a class=${kind} href=${workerLink(id)}><${Name} of=${id} /></a>`;

const PAGES = {
  queue: queueLink,
  worker: workerLink,
  job: jobLink,
  scaler: () => link("scaler"),
  pool: () => link("scaler"),
  label: (name) => link("workers", { label: name }),
  task: (name) => jobsLink({ task: name }),
  failure: failureLink,
};

/** The page of what a sentence of the server names; undefined if there is none. */
export const pageOf = (kind, name) => PAGES[kind]?.(name);

/** What a sentence of the server is about: a link if there is a page for its kind. */
export function Subject({ kind, name }) {
  const page = pageOf(kind, name);
  return page
    ? html`<a href=${page}><${Name} of=${name} /></a>`
    : html`<strong><${Name} of=${name} /></strong>`;
}
