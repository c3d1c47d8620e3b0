"""A proxy that adds latency to a PostgreSQL server: `delay.py SERVER_FOLDER OWN_FOLDER SECONDS`.

It passes on what arrives in either direction half of SECONDS later, so a round trip takes SECONDS
longer. Both ends are unix sockets in folders, as in `host=FOLDER` of a URL.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

NAME = ".s.PGSQL.5432"


async def serve(server: Path, own: Path, seconds: float) -> None:
    """Serve until killed; says when it is ready."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(server / NAME))
        with suppress(ConnectionError):
            await asyncio.gather(
                delay(reader, inner_writer, seconds / 2), delay(inner_reader, writer, seconds / 2)
            )

    async with await asyncio.start_unix_server(connect, str(own / NAME)) as listening:
        print("ready", flush=True)
        await listening.serve_forever()


async def delay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on all data of one direction, each piece so many seconds after it came."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 18):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
