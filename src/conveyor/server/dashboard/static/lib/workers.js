// What a worker is up to, from what it said at its last heartbeat.
import { now } from "./format.js";

// In seconds without a heartbeat, as in core/explain.py.
const SILENT = 20;

export function standingOf(worker) {
  if (now() - worker.beat_at > SILENT) return "silent";
  if (worker.draining) return "draining";
  if (worker.quiet) return "quiet";
  if (Object.keys(worker.sick ?? {}).length > 0) return "sick";
  if (worker.running === 0) return "idle";
  return worker.running >= worker.slots ? "busy" : "working";
}

/** A process that only does maintenance has no slots: a server. */
export const isServer = (worker) => worker.slots === 0;

/** An agent reaches the store through a server, with the token that ends its name. */
export const isAgent = (worker) => /@[a-z0-9]{8}$/.test(worker.id);

/** The worker's name without its host, which is shown above it. */
export const shortName = (worker) =>
  worker.id.startsWith(`${worker.host}-`) ? worker.id.slice(worker.host.length + 1) : worker.id;
