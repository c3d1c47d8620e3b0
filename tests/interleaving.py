"""Runs two calls of a store on PostgreSQL at once, one step of either at a time, in a chosen order.

A step is one request to the server, and within it each statement of a function in PL/pgSQL: the
functions of the test's schema are given a step between every two statements. A session that waits
for the other's locks cannot take a step, which the server tells.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg

from conveyor.errors import ConveyorError
from conveyor.store.postgres.address import parse_address
from postgres_proxy import Proxy, Session

# The class of the advisory locks at which functions stop.
STEPS = 20_260
# Not PERFORM, which would set FOUND.
STEP = "".join(
    f"\n    IF pg_advisory_{call}({STEPS}, pg_backend_pid()) IS NULL THEN NULL; END IF;"
    for call in ("lock", "unlock")
)
LIMIT = 60.0
# How long a session may be silent before the server is asked whether it waits, in seconds.
SILENCE = 0.001

Answer = tuple[str, Any]
Call = Callable[[], Any]


def step_through(definition: str) -> str:
    """Return a function of PL/pgSQL that stops between every two statements."""
    head, begin, body = definition.partition("\nBEGIN\n")
    statements, end, rest = body.rpartition("\nEND")
    return head + begin + re.sub(r";[ \t]*(?=\n)", lambda m: m[0] + STEP, statements) + end + rest


class Side:
    """One of the two calls: the thread that makes it, and its session."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.answer: Answer | None = None
        self.has_ended = True
        self._thread: threading.Thread | None = None

    def start(self, call: Call) -> None:
        self.answer, self.has_ended = None, False
        self._thread = threading.Thread(target=self._make, args=(call,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join(LIMIT)

    def session(self) -> Session | None:
        """Return the session of the call's next or present request."""
        return next((each for each in self.proxy.sessions if is_working(each)), None)

    def _make(self, call: Call) -> None:
        self.answer = answer_of(call)
        with self.proxy.changed:
            self.has_ended = True
            self.proxy.changed.notify_all()


def is_working(session: Session) -> bool:
    return not session.is_hints and (session.held is not None or session.is_busy)


def answer_of(call: Call) -> Answer:
    """Make a call; return what it answers, or the kind of its error."""
    try:
        return "answer", call()
    except ConveyorError as error:
        return "error", type(error).__name__


class Choices:
    """Which side takes each step: those given first, then the one that took the last."""

    def __init__(self, given: Sequence[int]) -> None:
        self.given = given
        # What was chosen where both could, and so another order exists.
        self.made: list[int] = []

    def choose(self, last: int) -> int:
        number = len(self.made)
        chosen = self.given[number] if number < len(self.given) else last
        self.made.append(chosen)
        return chosen


class Interleaving:
    """Two sides over proxies, and the session that steps through functions."""

    def __init__(self, folder: Path, url: str) -> None:
        address = parse_address(url)
        server = Path(psycopg.conninfo.conninfo_to_dict(address.server)["host"])  # type: ignore[arg-type]
        self.urls: list[str] = []
        self.sides: list[Side] = []
        for number in (0, 1):
            place = folder / f"side{number}"
            place.mkdir()
            self.sides.append(Side(Proxy(place, server)))
            self.urls.append(f"{self.sides[number].proxy.url}&schema={address.schema}")
        self.control = psycopg.connect(address.server, autocommit=True)
        self.schema = address.schema
        self._stepped: set[int] = set()

    def close(self) -> None:
        for side in self.sides:
            side.proxy.let_go()
            side.proxy.__exit__()
        self.control.close()

    def rewrite(self, change: Callable[[str], str] | None) -> None:
        """Give the schema's functions their steps, and change all statements, to plant a fault."""
        found = self.control.execute(
            "SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_language l ON l.oid = prolang "
            "WHERE pronamespace = %s::regnamespace AND lanname = 'plpgsql'",
            (self.schema,),
        ).fetchall()
        self.control.execute(f"SET search_path = {self.schema}".encode())
        for (text,) in found:
            self.control.execute(step_through(change(text) if change else text).encode())
        for side in self.sides:
            side.proxy.rewrite = change

    def run(self, calls: Sequence[Call], choices: Choices) -> list[Answer]:
        """Make both calls, step by step; return their answers."""
        for side in self.sides:
            side.proxy.holds = True
        for side, call in zip(self.sides, calls, strict=True):
            side.start(call)
        last = 0
        deadline = monotonic() + LIMIT
        while not all(side.has_ended for side in self.sides):
            assert monotonic() < deadline, "the calls do not end"
            able = self._wait_for_rest()
            if not able:
                continue
            last = choices.choose(last) if len(able) == 2 else able[0]
            self._step(self.sides[last])
        for side in self.sides:
            side.join()
            side.proxy.holds = False
        self._forget_steps()
        return [side.answer for side in self.sides if side.answer is not None]

    def _step(self, side: Side) -> None:
        session = side.session()
        if session is None:
            return
        if session.held is not None:
            self._stop_in_functions(session.pid)
            side.proxy.release(session)
        else:
            # The session waits at a step. It gets the lock, and this session waits until it is
            # given back.
            self.control.execute("SELECT pg_advisory_unlock(%s, %s)", (STEPS, session.pid))
            self.control.execute("SELECT pg_advisory_lock(%s, %s)", (STEPS, session.pid))

    def _stop_in_functions(self, pid: int) -> None:
        if pid not in self._stepped:
            self.control.execute("SELECT pg_advisory_lock(%s, %s)", (STEPS, pid))
            self._stepped.add(pid)

    def _forget_steps(self) -> None:
        self.control.execute("SELECT pg_advisory_unlock_all()")
        self._stepped.clear()

    def _wait_for_rest(self) -> list[int]:
        """Wait until neither side goes on by itself; return those that can take a step."""
        deadline = monotonic() + LIMIT
        while True:
            assert monotonic() < deadline, "a session neither answers nor waits"
            able: list[int] = []
            at_rest = True
            for number, side in enumerate(self.sides):
                how = self._stands(side)
                at_rest = at_rest and how != "goes on"
                if how == "can":
                    able.append(number)
            if at_rest:
                return able

    def _stands(self, side: Side) -> str:
        with side.proxy.changed:
            side.proxy.changed.wait_for(lambda: side.has_ended or is_held(side), SILENCE)
            if side.has_ended:
                return "has ended"
            if is_held(side):
                return "can"
            session = side.session()
        if session is None or not session.is_busy:
            return "goes on"
        [(blockers,)] = self.control.execute(
            "SELECT pg_blocking_pids(%s)", (session.pid,)
        ).fetchall()
        if self.control.info.backend_pid in blockers:
            return "can"
        others = {each.pid for other in self.sides for each in other.proxy.sessions}
        return "waits" if others & set(blockers) else "goes on"


def is_held(side: Side) -> bool:
    session = side.session()
    return session is not None and session.held is not None


@contextmanager
def interleaving(folder: Path, url: str) -> Iterator[Interleaving]:
    opened = Interleaving(folder, url)
    try:
        yield opened
    finally:
        opened.close()


def all_orders(run: Callable[[Choices], None], *, most: int, switches: int) -> int:
    """Run every order of steps with at most so many changes of the side; return how many."""
    waiting: list[list[int]] = [[0], [1]]
    ran = 0
    while waiting and ran < most:
        given = waiting.pop()
        choices = Choices(given)
        run(choices)
        ran += 1
        for number in range(len(given), len(choices.made)):
            other = [*choices.made[:number], 1 - choices.made[number]]
            if sum(a != b for a, b in itertools.pairwise(other)) <= switches:
                waiting.append(other)
    return ran
