// JSON whose numbers stay as they are written. JavaScript has no integers above 2^53 and no 1.0:
// it would show, and send back, other arguments than those that are stored.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
// Begins the string that stands for such a number. Nobody who stores arguments can know it.
const MARK = `${Math.random()}${Math.random()} `;
const MARKED = new RegExp(`"${MARK.replaceAll(".", "\\.")}([^"]*)"`, "g");

const marked = (token) =>
  token.startsWith('"') || String(Number(token)) === token ? token : `"${MARK}${token}"`;

/** Parse JSON; a number that JavaScript would write differently becomes a string for `exactText`. */
export const exactParse = (text) => JSON.parse(text.replace(TOKEN, marked));

/** What `exactParse` returned as JSON again. */
export const exactText = (value, indent) =>
  JSON.stringify(value, null, indent)?.replace(MARKED, "$1") ?? "null";

/** The type of a value that `exactParse` returned. */
export const exactType = (value) =>
  typeof value === "string" && value.startsWith(MARK) ? "number" : typeof value;
