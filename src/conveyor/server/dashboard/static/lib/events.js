// Reads server-sent events with fetch: unlike EventSource it can send headers, and says why it failed.

/** Call `onEvent({ name, id, data })` for each event of a response until it ends. */
export async function readEvents(response, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) onEvent(parseEvent(part));
  }
}

/** Return the event in a block of lines; one without a name only shows that the stream lives. */
export function parseEvent(block) {
  const event = { name: "", id: "", data: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    const value = line.slice(colon + 2);
    if (line.startsWith("event: ")) event.name = value;
    else if (line.startsWith("id: ")) event.id = value;
    else if (line.startsWith("data: ")) event.data = JSON.parse(value);
  }
  return event;
}
