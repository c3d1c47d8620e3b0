// Unpacks the Chromium that npm has installed beside this file into node_modules/.unpacked, once.
import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";

const packed = new URL("./node_modules/@sparticuz/chromium/bin/", import.meta.url);
const target = new URL("./node_modules/.unpacked/", import.meta.url);

async function unpack(source, name) {
  const part = new URL(`${name}.part`, target);
  const compressed = createReadStream(new URL(source, packed));
  await pipeline(compressed, createBrotliDecompress(), createWriteStream(part));
  return part;
}

await mkdir(target, { recursive: true });
// The shared libraries and a font, which a machine without a desktop may not have.
for (const source of ["al2023.tar.br", "fonts.tar.br"]) {
  const part = await unpack(source, source);
  execFileSync("tar", ["-xf", fileURLToPath(part), "-C", fileURLToPath(target)]);
  await rm(part);
}
// Last, so that an unpacking that was interrupted begins again.
const chromium = new URL("chromium", target);
if (!existsSync(chromium)) {
  const part = await unpack("chromium.br", "chromium");
  await chmod(part, 0o755);
  await rename(part, chromium);
}
