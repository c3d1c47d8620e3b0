"""A proxy in front of a PostgreSQL server that holds requests, cuts connections and stalls.

It reads the frames of the protocol, so it knows where a message ends, and where a request does:
what a client sends before it waits for an answer. A session that only listens and sends hints is
passed on untouched.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

Direction = Literal["request", "answer"]

# What a session of hints sends first.
HINTS = b"LISTEN ", b"pg_notify("
LIMIT = 60.0


class Frames:
    """Splits a stream of the protocol into messages."""

    def __init__(self, *, starts: bool) -> None:
        self._buffer = b""
        self._starts = starts

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the messages that are complete now: the type, and all bytes."""
        self._buffer += data
        found: list[tuple[bytes, bytes]] = []
        while (size := self._size()) and len(self._buffer) >= size:
            message, self._buffer = self._buffer[:size], self._buffer[size:]
            found.append((b"" if self._starts else message[:1], message))
            self._starts = False
        return found

    def _size(self) -> int:
        before = 0 if self._starts else 1
        if len(self._buffer) < before + 4:
            return 0
        return before + int(struct.unpack_from(">I", self._buffer, before)[0])


class Session:
    """One connection of a client, and the proxy's own to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.pid = 0
        self.is_hints = False
        # A request is at the server, and its answer not complete.
        self.is_busy = False
        # A complete request that waits for `release`.
        self.held: bytes | None = None
        # Nothing passes any more, and nothing is closed.
        self.is_silent = False
        self.requests = Frames(starts=True)
        self.answers = Frames(starts=False)
        self.request = b""


class Cut:
    """Ends a session after so many bytes in one direction; those that follow are lost."""

    def __init__(self, direction: Direction, after: int) -> None:
        self.direction = direction
        self.left = after
        self.is_done = False


class Traffic:
    """What passed in both directions while it was recorded, as messages."""

    def __init__(self) -> None:
        self.messages: dict[Direction, list[bytes]] = {"request": [], "answer": []}

    def cuts(self, direction: Direction) -> list[int]:
        """Return where to cut: at the end of each message, after its type, and in its middle."""
        places: set[int] = set()
        end = 0
        for message in self.messages[direction]:
            places |= {end + 1, end + len(message) // 2, end + len(message)}
            end += len(message)
        return sorted(places - {0})


class Proxy:
    """Listens on a unix socket in `folder` for the clients of the server in `server`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self.changed = threading.Condition()
        self.sessions: list[Session] = []
        # Requests wait for `release`.
        self.holds = False
        # Nobody is let in.
        self.refuses = False
        self.cut: Cut | None = None
        # Changes the text of each statement.
        self.rewrite: Callable[[str], str] | None = None
        self.traffic: Traffic | None = None
        self._server = str(server / ".s.PGSQL.5432")
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(folder / ".s.PGSQL.5432"))
        self._door.listen(64)
        self._waker, woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ, None)
        self._selector.register(woken, selectors.EVENT_READ, woken)
        self._is_closing = False
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        with suppress(OSError):  # another event has woken it, and it has ended
            self._waker.send(b"x")
        self._thread.join(LIMIT)
        self._waker.close()

    def release(self, session: Session) -> None:
        """Pass on the request that a session holds."""
        with self.changed:
            held, session.held = session.held, None
            assert held is not None
            session.is_busy = True
        with suppress(OSError):
            session.server.sendall(held)

    def let_go(self) -> None:
        """Hold no more requests, and pass on those that wait."""
        with self.changed:
            self.holds = False
            waiting = [each for each in self.sessions if each.held is not None]
        for session in waiting:
            self.release(session)

    def silence(self, *, hints: bool) -> None:
        """Let nothing pass on the sessions of hints or of calls, as a firewall that forgot them."""
        with self.changed:
            for session in self.sessions:
                session.is_silent = session.is_silent or session.is_hints == hints

    def end_sessions(self, *, hints: bool = False) -> None:
        """Close the connections of hints or of calls on both sides, as a network that fails."""
        with self.changed:
            for session in [each for each in self.sessions if each.is_hints == hints]:
                for side in (session.client, session.server):
                    with suppress(OSError):
                        side.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while not self._is_closing:
            for key, _ in self._selector.select():
                if key.fileobj is self._door:
                    self._accept()
                elif isinstance(key.data, socket.socket):
                    key.data.recv(100)
                else:
                    self._pass_on(key.data[0], key.data[1])
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _accept(self) -> None:
        client, _ = self._door.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            if self.refuses:
                raise ConnectionRefusedError
            server.connect(self._server)
        except OSError:
            client.close()
            server.close()
            return
        session = Session(client, server)
        self._selector.register(client, selectors.EVENT_READ, (session, "request"))
        self._selector.register(server, selectors.EVENT_READ, (session, "answer"))
        with self.changed:
            self.sessions.append(session)

    def _pass_on(self, session: Session, direction: Direction) -> None:
        source = session.client if direction == "request" else session.server
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._end(session)
            return
        if session.is_silent:
            return
        if direction == "request":
            self._take_request(session, data)
        else:
            self._take_answer(session, data)

    def _take_request(self, session: Session, data: bytes) -> None:
        messages = session.requests.feed(data)
        if self.rewrite is not None:
            messages = [(kind, rewritten(message, self.rewrite)) for kind, message in messages]
            data = b"".join(message for _, message in messages)
        session.request += b"".join(message for _, message in messages)
        if any(word in data for word in HINTS):
            session.is_hints = True
        self._record(session, "request", messages)
        ends = bool(messages) and messages[-1][0] in {b"Q", b"S"}
        if self.holds and not session.is_hints and session.pid:
            if ends:
                with self.changed:
                    session.held, session.request = session.request, b""
                    self.changed.notify_all()
            elif messages and messages[-1][0] == b"X":
                self._forward(session, "request", session.request)
            return
        session.request = b""  # what is passed on is not passed on again with the next request
        if ends:
            session.is_busy = True
        self._forward(session, "request", data)

    def _take_answer(self, session: Session, data: bytes) -> None:
        messages = session.answers.feed(data)
        self._record(session, "answer", messages)
        for kind, message in messages:
            if kind == b"K":
                session.pid = struct.unpack_from(">I", message, 5)[0]
        with self.changed:
            if any(kind == b"Z" for kind, _ in messages):
                session.is_busy = False
        self._forward(session, "answer", data)
        with self.changed:
            self.changed.notify_all()

    def _record(
        self, session: Session, direction: Direction, messages: list[tuple[bytes, bytes]]
    ) -> None:
        if self.traffic is not None and not session.is_hints:
            self.traffic.messages[direction] += [message for _, message in messages]

    def _forward(self, session: Session, direction: Direction, data: bytes) -> None:
        cut = self.cut
        target = session.server if direction == "request" else session.client
        is_cut = False
        if cut is not None and cut.direction == direction and not session.is_hints:
            is_cut = not cut.is_done and len(data) >= cut.left
            data = data[: cut.left] if is_cut else data
            cut.left -= len(data)
        with suppress(OSError):
            target.sendall(data)
        if cut is not None and is_cut:
            cut.is_done = True
            self._end(session)

    def _end(self, session: Session) -> None:
        for side in (session.client, session.server):
            with suppress(KeyError, ValueError):
                self._selector.unregister(side)
            side.close()
        with self.changed:
            session.is_busy, session.held = False, None
            if session in self.sessions:
                self.sessions.remove(session)
            self.changed.notify_all()


def rewritten(message: bytes, rewrite: Callable[[str], str]) -> bytes:
    """Return a message of a client with another text of its statement, if it has one."""
    kind, body = message[:1], message[5:]
    if kind not in {b"P", b"Q"} or message[1:2] != b"\0":
        return message
    name, statement, rest = (b"", *body.partition(b"\0")[::2])
    if kind == b"P":
        name, body = body.partition(b"\0")[0] + b"\0", body.partition(b"\0")[2]
        statement, _, rest = body.partition(b"\0")
    body = name + rewrite(statement.decode()).encode() + b"\0" + rest
    return kind + struct.pack(">I", len(body) + 4) + body
