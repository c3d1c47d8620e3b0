// The history of the API as series for charts.

/**
 * Return the times and the series of a history: `points` as GET /history answers them, without the
 * last one, whose time is not over: it would look like a fall.
 */
export function seriesOf({ points }) {
  const take = (read) => points.slice(0, -1).map(read);
  return {
    times: take((point) => point.at),
    enqueued: take((point) => point.enqueued),
    completed: take((point) => point.completed),
    failed: take((point) => point.retried + point.discarded),
    waitingMiddle: take((point) => point.waiting.p50),
    waitingHigh: take((point) => point.waiting.p95),
    worst: take((point) => point.worst_p95 ?? null),
  };
}

/** A rate per second in the unit that makes it a number one can read. */
export function readableRate(perSecond) {
  if (perSecond >= 1 || perSecond === 0) return { value: perSecond, unit: "a second" };
  return { value: perSecond * 60, unit: "a minute" };
}
