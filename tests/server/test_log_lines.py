"""No traffic makes a server or a worker log the same kind of line more than once a second."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from raw_http import RawClient, receive_all
from served import OpenAuthenticator, Serving

from conveyor import Conveyor
from conveyor.core.pending import Pending, failed
from conveyor.errors import UnavailableError
from conveyor.store.http.api import SERVER_CALLS, STORE_CALLS
from conveyor.store.memory.store import MemoryStore
from conveyor.system.repeat_filter import bounded_log


class FailingStore(MemoryStore):
    """A store whose every operation fails."""

    error: Exception = UnavailableError("not now")

    def _run(
        self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object], *, reads: bool
    ) -> Pending[Any]:
        return failed(self.error)


class Collected(logging.Handler):
    """Counts log records by logger and kind."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kinds: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        kind = str(record.msg).partition("\n")[0].partition(" dropped=")[0]
        self.kinds[record.name, kind] += 1


@pytest.fixture
def collected() -> Iterator[Collected]:
    handler = Collected()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_no_request_makes_a_server_log_a_kind_of_line_twice_in_a_second(
    collected: Collected,
) -> None:
    store = FailingStore()
    serving = Serving(store, authenticator=OpenAuthenticator(store))
    ask = RawClient(serving.url)
    statuses: Counter[int] = Counter()
    with bounded_log(elapsed=lambda: 0.0):  # a second that does not end
        for store.error in (UnavailableError("not now"), ValueError("a bug")):
            for call in (*STORE_CALLS.values(), *SERVER_CALLS):
                if call.name == "hints":  # a stream without an end
                    continue
                path = re.sub(r"{\w+}", "0" * 64, call.path)
                for body in (b"{}", b"[", b"\xff", b'{"jobs":[{"task":"t"}]}'):
                    statuses[ask(call.method, path, body).status] += 1
        for data in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 1000) * 5:
            line = ask.raw(data)
            receive_all(line)
            line.close()
    serving.close()
    assert statuses[503] > 20
    assert statuses[500] > 20
    assert collected.kinds["conveyor.server", "call.unavailable name=%s error=%s"] == 1
    assert max(collected.kinds.values()) == 1, collected.kinds


def test_no_job_makes_a_worker_log_a_kind_of_line_twice_in_a_second(collected: Collected) -> None:
    belt = Conveyor("memory:")

    @belt.task
    async def leave() -> None:
        for _ in range(100):
            asyncio.get_running_loop().call_soon(sys.exit)
        await asyncio.sleep(60)

    began = time.monotonic()
    leave.enqueue()
    belt.work(timeout=60)
    seconds = time.monotonic() - began
    belt.close()
    count = collected.kinds["conveyor.event_loop", "job.exit_ignored id=%s task=%s error=%s"]
    assert 1 <= count <= seconds + 1
