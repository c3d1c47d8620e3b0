// Captured output: from the chunks of the API to lines.
const LINE = 10000; // characters of a line that are kept
const LINES = 20000; // lines that are kept

/** Collects chunks, which may end within a line or a character, and keeps the newest lines. */
export class OutputLines {
  constructor() {
    this.lines = [];
    this.last = 0; // the seq of the newest chunk
    this.first = null; // the seq of the oldest chunk
    this.dropped = 0;
    this.open = new Map(); // the line of each stream that has not ended
    this.decoders = new Map();
  }

  /** Add chunks { seq, stream, at, data }, oldest first. */
  add(chunks) {
    for (const chunk of chunks) {
      if (chunk.seq <= this.last) continue;
      this.last = chunk.seq;
      this.first ??= chunk.seq;
      const text = this.decode(chunk);
      this.addText(chunk, chunk.stream === "mark" ? text.replace(/^\n/, "") : text);
    }
    if (this.lines.length > LINES) {
      this.dropped += this.lines.length - LINES;
      this.lines = this.lines.slice(-LINES);
    }
  }

  decode({ stream, lease, data }) {
    const key = `${stream} ${lease}`;
    if (!this.decoders.has(key)) this.decoders.set(key, new TextDecoder());
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    return this.decoders.get(key).decode(bytes, { stream: true });
  }

  addText({ stream, lease, at }, text) {
    const key = `${stream} ${lease}`;
    const parts = text.split(/\r?\n/);
    const ended = parts.length - 1;
    parts.forEach((part, index) => {
      if (index === ended && part === "") return;
      const line = this.open.get(key) ?? this.begin(stream, at);
      line.append(part);
      if (index < ended) this.open.delete(key);
      else this.open.set(key, line);
    });
  }

  begin(stream, at) {
    const line = new Line(this.dropped + this.lines.length + 1, stream, at);
    this.lines.push(line);
    return line;
  }
}

class Line {
  constructor(number, stream, at) {
    Object.assign(this, { number, stream, at, text: "", hidden: 0 });
  }

  append(part) {
    const room = Math.max(0, LINE - this.text.length);
    this.text += part.slice(0, room);
    this.hidden += Math.max(0, part.length - room);
  }

  /** What is shown: a long line says how much is left out. */
  get shown() {
    if (this.hidden === 0) return this.text;
    return `${this.text} … (${this.hidden.toLocaleString("en")} more characters)`;
  }
}
