// Unpacks the Chromium that npm has installed beside this file into node_modules/.unpacked, once.
import { createReadStream, createWriteStream } from "node:fs";
import { chmod, mkdir, rename } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const packed = new URL("./node_modules/@sparticuz/chromium/bin/", import.meta.url);
const target = new URL("./node_modules/.unpacked/", import.meta.url);

await mkdir(target, { recursive: true });
for (const [source, name] of [
  ["al2023.tar.br", "libraries.tar"],
  ["fonts.tar.br", "fonts.tar"],
  ["chromium.br", "chromium"],
]) {
  const part = new URL(`${name}.part`, target);
  await pipeline(
    createReadStream(new URL(source, packed)),
    createBrotliDecompress(),
    createWriteStream(part),
  );
  await chmod(part, 0o755);
  await rename(part, new URL(name, target));
}
