// Addresses of pages are in the part of the URL after #: they work below any prefix, and names of
// queues stay out of the logs of proxies.
import { signal } from "./html.js";

/** { parts, query } of the present address. */
export const route = signal(parseRoute(location.hash));

/** Return the parts and the query of an address like #/jobs?queue=mail. */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decode),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** Return the address of a page; parts are encoded, empty values of the query are left out. */
export function link(parts, query = {}) {
  const path = [parts].flat().map(encodeURIComponent).join("/");
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString().replaceAll("%2C", ",");
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function go(hash) {
  location.hash = hash;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

addEventListener("hashchange", () => {
  const before = route.value.parts.join("/");
  route.value = parseRoute(location.hash);
  if (route.value.parts.join("/") === before) return;
  scrollTo(0, 0);
  requestAnimationFrame(() => document.querySelector("h1")?.focus({ preventScroll: true }));
});
