// Words of a command line, quoted where a shell needs it.

/** Return a command line; empty words are left out. */
export const commandLine = (...words) =>
  words
    .filter((word) => word !== "" && word !== null && word !== undefined)
    .map((word) => quote(String(word)))
    .join(" ");

// What a terminal obeys or nobody sees: a name of somebody else's may have it. See
// core/shell_words.py, which has the same rule.
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/u;

function quote(word) {
  if (HIDDEN.test(word)) return `$'${Array.from(new TextEncoder().encode(word), escaped).join("")}'`;
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

function escaped(byte) {
  const letter = String.fromCharCode(byte);
  if (letter === "\\" || letter === "'") return `\\${letter}`;
  return byte >= 0x20 && byte < 0x7f ? letter : `\\x${byte.toString(16).padStart(2, "0")}`;
}
