// Requests to the public API of the server that sent this page, below whatever prefix that is.
import { exactParse } from "./exact_json.js";
import { signal } from "./html.js";

/** Whether the server wants a token that this page does not have. */
export const signedOut = signal(false);
/** Who looks, and the names of the calls that they may make; see GET /me. */
export const me = signal(null);

const OWN = { "Conveyor-Dashboard": "1" };

/** A request that was refused or that failed. Its status is 0 if the server did not answer. */
export class Refused extends Error {
  constructor({ status, code = "", title, detail = "" }) {
    super(title);
    Object.assign(this, { status, code, title, detail });
  }
}

/** Whether the token in use may make the call with this name. */
export const may = (call) => Boolean(me.value?.may.includes(call));

/** The address of a path of the API, with the parameters that are not empty. */
export function address(path, params = {}) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** A name as one segment of a path. */
export const segment = (name) => encodeURIComponent(name);

export const get = async (path, params) => read(await send("GET", address(path, params)));
/** The same, with one field of the answer as `exactParse` returns it. */
export async function getExact(path, field, params) {
  const text = await (await send("GET", address(path, params))).text();
  return { ...JSON.parse(text), [field]: exactParse(text)[field] };
}
export const post = async (path, body) => read(await send("POST", address(path), body));
/** Post a body that is JSON already. */
export const postText = async (path, text) =>
  read(await send("POST", address(path), undefined, { text }));
export const put = async (path, body) => read(await send("PUT", address(path), body));
export const remove = async (path, params) => read(await send("DELETE", address(path, params)));

/** A page of a list: its rows, and where the next page begins (null on the last one). */
export async function getPage(path, params) {
  const response = await send("GET", address(path, params));
  const cursor = response.headers.get("Next-Cursor");
  return { rows: await response.json(), next: cursor === null ? null : decodeURIComponent(cursor) };
}

/** All pages of a list, at most `limit` rows. */
export async function getAll(path, params = {}, limit = 10000) {
  const rows = [];
  let after = "";
  while (rows.length < limit) {
    const page = await getPage(path, { ...params, after });
    rows.push(...page.rows);
    if (page.next === null) break;
    after = page.next;
  }
  return rows;
}

/** Bytes, as of a file. */
export const getBytes = async (path, params) =>
  (await send("GET", address(path, params))).arrayBuffer();

/** Send a request, whose body is `body` or `options.text`; Refused unless it succeeds. */
export async function send(method, url, body, options = {}) {
  const headers = { ...OWN, ...options.headers };
  const text = options.text ?? (body === undefined ? undefined : JSON.stringify(body));
  if (text !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: text,
      signal: options.signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({
      status: 0,
      title: "The server does not answer",
      detail: "Nothing was changed, as far as this page knows.",
    });
  }
  if (response.ok) return response;
  if (response.status === 401) signedOut.value = true;
  throw new Refused({ status: response.status, ...(await problemOf(response)) });
}

async function problemOf(response) {
  try {
    const { code, title, detail } = await response.json();
    return { code, title: title || "The request was refused", detail };
  } catch {
    // A proxy in between answers in its own way.
    return {
      title: `The server answered ${response.status}`,
      detail: "The answer is not from Conveyor: look at what is between this page and its server.",
    };
  }
}

async function read(response) {
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}
