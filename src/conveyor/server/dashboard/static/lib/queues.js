// Queues as the API answers them.

/** How many jobs wait in a queue, now or later. */
export const depthOf = ({ counts }) =>
  (counts.scheduled ?? 0) + (counts.available ?? 0) + (counts.retryable ?? 0);
