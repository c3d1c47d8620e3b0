"""`conveyor agent` before it has reached its server."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest
from shell import Start, read_line

from reserved_port import ReservedPort

pytestmark = pytest.mark.alone


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed() -> Iterator[str]:
    """An address at which nothing listens."""
    port = ReservedPort()
    yield port.url
    port.close()


def logged(start: Start, url: str) -> tuple[str, float]:
    """Start an agent; return its first line of log, and how long after its start it came."""
    began = time.monotonic()
    agent = start("agent", "--allow-commands", "--server", url)
    line = read_line(agent, "20")  # the year
    return line, time.monotonic() - began


def test_an_agent_says_soon_that_its_server_is_not_there(start: Start, closed: str) -> None:
    line, seconds = logged(start, closed)
    assert re.search(rf"server\.unreachable .*{closed}", line)
    assert seconds < 10  # it goes on trying, and says so before


def test_an_agent_says_soon_that_its_server_does_not_answer(start: Start, silent: str) -> None:
    line, seconds = logged(start, silent)
    assert re.search(rf"server\.silent .*{silent}", line)
    assert seconds < 10
