"""Options, settings and fixtures of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from postgres_schema import Schemas

# No deadlines: tests must also pass on slow machines.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell without job control starts background commands with SIGINT ignored; undo that here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long drills too")


# How many tests there are in the files of this run, whichever of them it selects.
COLLECTED = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.stash[COLLECTED] = len(items) - len(slow)
    if slow and not config.getoption("--slow"):
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def test_count(request: pytest.FixtureRequest) -> int | None:
    """Return how many tests there are in all, without the slow ones; None in a run of some."""
    given = [request.config.rootpath / argument for argument in request.config.args]
    is_whole = given == [request.config.rootpath / "tests"]
    return request.config.stash[COLLECTED] if is_whole else None


@pytest.fixture(autouse=True)
def store_of_no_command() -> Iterator[None]:
    """Forget the store that a command in this process exported to the environment."""
    yield
    for name in ("CONVEYOR_URL", "CONVEYOR_TOKEN_FILE"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """Return the schemas of the PostgreSQL server that all processes of this run share."""
    # Most tests do without psycopg.
    from postgres_schema import Schemas
    from postgres_server import shared_server

    base = tmp_path_factory.getbasetemp()
    return Schemas(shared_server(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base))


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Return a function that polls a condition outside this process; it fails after 60 s."""

    def wait_until(done: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = monotonic() + seconds
        while not done():
            assert monotonic() < deadline, "the condition did not become true in time"
            sleep(0.005)

    return wait_until
