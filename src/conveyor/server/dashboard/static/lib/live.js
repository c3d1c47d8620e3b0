// The connection to the server's events: whether it lives, how old the data is, and when to read.
import { address, send, signedOut } from "./api.js";
import { readEvents } from "./events.js";
import { now, setClock } from "./format.js";
import { signal } from "./html.js";

const POLL = 5000; // without a stream
const SILENT = 25000; // the server sends something at least every 15 s
const RETRY = 3000;

/** connecting, live, polling, lost, or paused by the user. */
export const connection = signal("connecting");
/** When the server was heard last, in Unix seconds. */
export const heardAt = signal(now());
/** When the page will try to connect again. */
export const retryAt = signal(0);
/** Grows when the page should read its data again: about once a second. */
export const beat = signal(0);
/** Grows when the watched job changed or wrote output. */
export const jobBeat = signal(0);
/** Grows each second, whatever the connection does: relative times follow it. */
export const second = signal(0);
/** What the server says each second; see GET /events. */
export const snapshot = signal(null);

let watchedJob = "";
let lastId = "";
let attempt = null; // the AbortController of the connection that is open or being opened
let timer = 0;
let watchdog = 0;
let isPaused = false;
let isListening = false;

setInterval(() => {
  if (!document.hidden) second.value += 1;
}, 1000);

/** Open the stream, and keep it open while the page is visible. */
export function listen() {
  if (!isListening) {
    isListening = true;
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : connect()));
    addEventListener("online", connect);
  }
  connect();
}

/** Close the stream, as nobody is signed in any more. */
export function hangUp() {
  stop();
  snapshot.value = null;
}

/** Say which job the page shows, so that the server tells of its changes. */
export function watchJob(id) {
  if (watchedJob === id) return;
  watchedJob = id;
  if (attempt !== null) connect();
}

/** Stop or go on showing changes. */
export function pause(value) {
  isPaused = value;
  if (connection.value !== "lost") connection.value = value ? "paused" : "live";
  if (!value) beat.value += 1;
}

/** Whether the page shows no changes now: it is hidden, or its updates are paused. */
export const isResting = () => document.hidden || isPaused;

/** Try now to connect. */
export async function connect() {
  stop();
  if (document.hidden || signedOut.value) return;
  const mine = new AbortController();
  attempt = mine;
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": lastId };
    const url = address("events", { job: watchedJob });
    const response = await send("GET", url, undefined, { headers, signal: mine.signal });
    await readEvents(response, (event) => attempt === mine && receive(event));
    if (attempt === mine) lose();
  } catch (error) {
    if (attempt !== mine) return; // another attempt has replaced this one
    if (error.status >= 400 && error.status !== 502 && error.status !== 504) refuse(error);
    else lose();
  }
}

function stop() {
  clearTimeout(timer);
  clearTimeout(watchdog);
  attempt?.abort();
  attempt = null;
}

function receive(event) {
  hear();
  if (event.id) lastId = event.id;
  if (event.name === "snapshot") {
    snapshot.value = event.data;
    if (event.data.at) setClock(event.data.at);
  }
  if (event.name === "job" || event.name === "output") jobBeat.value += 1;
  if (event.name === "snapshot" || (event.name === "hello" && event.data.missed)) tick();
}

function hear() {
  heardAt.value = now();
  connection.value = isPaused ? "paused" : "live";
  clearTimeout(watchdog);
  watchdog = setTimeout(connect, SILENT);
}

function tick() {
  if (!isPaused) beat.value += 1;
}

function lose() {
  stop();
  connection.value = "lost";
  retryAt.value = now() + RETRY / 1000;
  timer = setTimeout(connect, RETRY);
}

/** The server answers, but gives no stream: read now and then. */
function refuse(error) {
  stop();
  if (error.status === 401) return; // the login comes next
  heardAt.value = now();
  connection.value = isPaused ? "paused" : "polling";
  tick();
  timer = setTimeout(connect, POLL);
}
