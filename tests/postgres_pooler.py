"""A pooler in transaction mode for tests: each transaction of a client is in another session.

It does what PgBouncer does without `max_prepared_statements`, and nothing that would help: of the
free sessions it lends the one that was used longest ago. Clients need no password.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

PORT = 6432
# How many sessions of the server it has at most.
SIZE = 4
# What becomes of settings that a client wants for its session.
Options = Literal["refused", "dropped", "kept"]
TLS, GSS, CANCEL = 80877103, 80877104, 80877102
READY, IDLE = b"Z", b"I"


class Session:
    """A session of the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        # What the server told of itself, for every client.
        self.greeting = b""


class Pooler:
    """Listens on a unix socket in `folder`, in front of the server with one in `server`."""

    def __init__(self, folder: Path, server: Path, options: Options = "refused") -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}&port={PORT}"
        self._socket = folder / f".s.PGSQL.{PORT}"
        self._server = server / ".s.PGSQL.5432"
        self._options = options
        # Settings of the first client, which are those of all sessions if they are "kept".
        self._kept = b""
        self._opened = 0
        self._tasks: list[asyncio.Task[None]] = []
        # Of clients and sessions.
        self._writers: list[asyncio.StreamWriter] = []
        self._free: deque[Session] = deque()
        self._returned: asyncio.Condition
        self._stopping: asyncio.Event
        self._is_up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        """Start, and wait until clients can connect."""
        self._thread.start()
        assert self._is_up.wait(60)

    def stop(self) -> None:
        """End all sessions."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._returned, self._stopping = asyncio.Condition(), asyncio.Event()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            self.start_task(self._attend(reader, writer))

        listening = await asyncio.start_unix_server(accept, self._socket)
        self._is_up.set()
        await self._stopping.wait()
        listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(
            *(each.wait_closed() for each in self._writers), return_exceptions=True
        )

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the pooler."""
        task = self._loop.create_task(coroutine)
        self._tasks.append(task)
        return task

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves."""
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                if await self._greet(reader, writer):
                    await Client(self, reader, writer).serve()
            finally:
                writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while True:
            length, code = struct.unpack("!II", await reader.readexactly(8))
            startup = await reader.readexactly(length - 8)
            if code == CANCEL:
                return False
            if code not in (TLS, GSS):
                break
            writer.write(b"N")
        names = startup.split(b"\0")[:-2]
        given = dict(zip(names[::2], names[1::2], strict=True))
        if b"options" in given and self._options == "refused":
            text = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
            writer.write(message(b"E", text))
            return False
        self._kept = given.get(b"options", b"") if self._options == "kept" else b""
        session = await self.take()
        writer.write(message(b"R", struct.pack("!I", 0)) + session.greeting)
        writer.write(message(b"K", os.urandom(8)) + message(READY, IDLE))
        await self.give_back(session)
        return True

    async def take(self) -> Session:
        """Return the session that was used longest ago; wait if all are in use."""
        async with self._returned:
            await self._returned.wait_for(lambda: self._free or self._opened < SIZE)
            if self._opened < SIZE:
                self._opened += 1
                return await self._open()
            return self._free.popleft()

    async def give_back(self, session: Session, *, broken: bool = False) -> None:
        """Take a session back between two transactions, or forget one that is `broken`."""
        async with self._returned:
            if broken:
                session.writer.close()
                self._opened -= 1
            else:
                self._free.append(session)
            self._returned.notify()

    async def _open(self) -> Session:
        session = Session(*await asyncio.open_unix_connection(str(self._server)))
        self._writers.append(session.writer)
        given = b"user\0postgres\0database\0postgres\0client_encoding\0UTF8\0"
        given += b"application_name\0" + self._socket.parent.name.encode() + b"\0"
        given += (b"options\0" + self._kept + b"\0" if self._kept else b"") + b"\0"
        session.writer.write(struct.pack("!II", len(given) + 8, 196608) + given)
        while True:
            kind, body = await read_message(session.reader)
            if kind == b"S":
                session.greeting += message(kind, body)
            elif kind == READY:
                return session


class Client:
    """One client, and the session that its transaction is in."""

    def __init__(
        self, pooler: Pooler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._pooler = pooler
        self._reader = reader
        self._writer = writer
        self._session: Session | None = None
        self._relaying: asyncio.Task[None] | None = None
        # How often the server has still to say that it is ready.
        self._awaited = 0

    async def serve(self) -> None:
        """Pass on what the client asks until it leaves."""
        try:
            while True:
                kind, body = await read_message(self._reader)
                if kind == b"X":
                    return
                if self._session is None:
                    self._session = await self._pooler.take()
                    self._relaying = self._pooler.start_task(self._relay(self._session))
                self._awaited += kind in (b"Q", b"S")
                self._session.writer.write(message(kind, body))
        finally:
            if self._relaying is not None:
                self._relaying.cancel()
            if self._session is not None:
                await self._pooler.give_back(self._session, broken=True)

    async def _relay(self, session: Session) -> None:
        """Pass on what the server answers until the transaction has ended."""
        try:
            while True:
                kind, body = await read_message(session.reader)
                self._awaited -= kind == READY
                if kind == READY and body == IDLE and not self._awaited:
                    self._session = None
                    await self._pooler.give_back(session)
                    self._writer.write(message(kind, body))
                    return
                self._writer.write(message(kind, body))
        except (OSError, asyncio.IncompleteReadError):
            self._writer.close()


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the kind of the next message, and what it contains."""
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
