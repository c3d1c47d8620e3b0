// Python tracebacks as frames, so that the own code stands out from libraries.

const FRAME = /^ {2}File "(.+)", line (\d+)(?:, in (.+))?$/;
const LIBRARY =
  /site-packages|dist-packages|[\\/]lib[\\/]python3|<frozen |[\\/]conveyor[\\/](?:runners|worker)[\\/]/;
// Marks below a line that point to the failing part of it.
const MARKS = /^ *[~^]+ *$/;

/** Return the frames of the last traceback in a text, the innermost first: { file, line, name, code, isOwn }. */
export function framesOf(text) {
  const frames = [];
  for (const line of text.split("\n")) {
    const [, file, number, name = ""] = FRAME.exec(line) ?? [];
    if (file !== undefined) {
      frames.push({ file, line: Number(number), name, code: "", isOwn: !LIBRARY.test(file) });
    } else if (line.startsWith("    ") && frames.length > 0 && !MARKS.test(line)) {
      const frame = frames.at(-1);
      if (frame.code === "") frame.code = line.trim();
    }
  }
  return frames.reverse();
}
