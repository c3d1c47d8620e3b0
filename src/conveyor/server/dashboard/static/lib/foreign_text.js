// Text that others wrote, as text: what would be invisible or reorder the rest is made visible.

const COLOURS = /\u001b\[[0-9;:]*m/g;
// Controls, and the characters that change the direction of text or have no width.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const mark = (character) => `⟨${character.codePointAt(0).toString(16).padStart(4, "0")}⟩`;

/** A name, message or argument. */
export const visible = (text) => String(text).replace(HIDDEN, mark);

/** A line of output: its colours are left out, as in `conveyor logs` without a terminal. */
export const visibleLine = (line) => visible(line.replace(COLOURS, ""));

/** At most `length` characters, and how many were left out. */
export function cut(text, length) {
  if (text.length <= length) return text;
  return `${text.slice(0, length)} … (${(text.length - length).toLocaleString("en")} more)`;
}
