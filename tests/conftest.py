"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic, sleep

import pytest
from hypothesis import settings

# A test is never a matter of time: slow machines are machines too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# In the background of a script without job control, Ctrl-C is ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long drills too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait, looking often, until something outside this process is so; fail after 20 s."""

    def look(done: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = monotonic() + seconds
        while not done():
            assert monotonic() < deadline, "it did not happen in time"
            sleep(0.005)

    return look
