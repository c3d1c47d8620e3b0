"""A forked child of a process with a PostgreSQL store has its own sessions from its first call."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest
from calls import claim, new, put

from conveyor.core.job import State
from conveyor.errors import UnavailableError
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.store import PostgresStore

# How long a call in another thread may take before the first thread goes on, in seconds.
LIMIT = 0.05


def in_child(call: Callable[[], object]) -> int:
    """Make a call in a forked child; return its exit code: 0 if the call returned."""
    child = os.fork()
    if not child:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def session_of(store: PostgresStore) -> Connection:
    [connection] = store._driver._opened.transactions._pool._free  # type: ignore[attr-defined]
    assert isinstance(connection, Connection)
    return connection


def test_a_forked_child_uses_the_store_and_leaves_the_sessions_of_its_parent(
    postgres: PostgresStore,
) -> None:
    put(postgres, new(id="parent"))
    pid = session_of(postgres).session.info.backend_pid

    def use() -> None:
        put(postgres, new(id="child"))
        assert session_of(postgres).session.info.backend_pid != pid
        postgres.close()

    assert in_child(use) == 0
    assert [job.id for job in claim(postgres, 9)] == ["parent", "child"]
    assert session_of(postgres).session.info.backend_pid == pid


def test_a_child_that_only_closes_the_store_leaves_the_sessions_of_its_parent(
    postgres: PostgresStore,
) -> None:
    put(postgres, new())
    pid = session_of(postgres).session.info.backend_pid

    def close() -> None:
        postgres.close()
        with pytest.raises(UnavailableError, match="this store was closed"):
            put(postgres, new())

    assert in_child(close) == 0
    assert len(claim(postgres, 9)) == 1
    assert session_of(postgres).session.info.backend_pid == pid


def test_a_store_that_was_closed_before_the_fork_is_closed_in_the_child(
    postgres: PostgresStore,
) -> None:
    postgres.close()

    def use() -> None:
        with pytest.raises(UnavailableError, match="this store was closed"):
            put(postgres, new())

    assert in_child(use) == 0


def test_a_thread_that_calls_while_another_opens_what_the_child_needs_uses_nothing_of_the_parent(
    postgres: PostgresStore,
) -> None:
    ids = put(postgres, *(new() for _ in range(100)))
    inherited = session_of(postgres)
    used = inherited._uses.copy()
    claimed: list[str] = []

    def call() -> None:
        claimed.extend(job.id for job in claim(postgres))

    def call_between(frame: FrameType, event: str, _value: object) -> object:
        """Call in another thread before each line of the method that opens."""
        if event == "line":
            beside = threading.Thread(target=call)
            beside.start()
            beside.join(LIMIT)
            threads.append(beside)
        return call_between if frame.f_code.co_name == "_open" else None

    threads: list[threading.Thread] = []

    def open_all() -> None:
        sys.settrace(call_between)  # type: ignore[arg-type]
        call()
        sys.settrace(None)
        for each in threads:
            each.join()
        assert len(threads) > 5
        assert len(set(claimed)) == len(threads) + 1
        assert inherited._uses == used

    assert in_child(open_all) == 0
    assert postgres.get(ids[0]).result().state is State.RUNNING
