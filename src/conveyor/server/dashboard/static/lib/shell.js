// Words of a command line, quoted where a shell needs it.

/** Return a command line; empty words are left out. */
export const commandLine = (...words) =>
  words
    .filter((word) => word !== "" && word !== null && word !== undefined)
    .map((word) => quote(String(word)))
    .join(" ");

function quote(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
