"""Runs scenarios, a few at a time, each in a harness of its own, and collects the results."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Literal

import msgspec

from ..errors import UsageError
from .checks import Check, Row, make_row
from .harness import DrillInterruptedError, Harness
from .scenarios import Scenario
from .workers import WorkerStarter, file_store, start_worker

# How long one scenario may take, in seconds, without the start of its workers.
LIMIT = 40.0
# How long the first worker may take to start, in seconds.
START_LIMIT = 60.0
# Concurrent scenarios. Each has up to two busy workers, which must not slow down those of others.
CONCURRENCY = max(2, min(4, (os.cpu_count() or 2)))

Phase = Literal["begins", "ends"]
ProgressCallback = Callable[[Scenario, Phase, bool], None]


class ScenarioResult(msgspec.Struct, frozen=True):
    """The result of a scenario. `took` is its duration in seconds."""

    name: str
    title: str
    promise: str
    took: float
    rows: tuple[Row, ...]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(row.kept for row in self.rows)


class Drill:
    """A drill in `folder` of the application `app` ("module:name"; None: without one).

    `make_store` makes the store for a scenario's folder and returns its address; a database may
    need a `password`. `starter` starts the workers, `limit` is the maximum duration of a scenario
    in seconds, and `concurrency` the number of scenarios that run at the same time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        app: str | None = None,
        make_store: Callable[[Path], str] = file_store,
        password: str = "",
        starter: WorkerStarter = start_worker,
        limit: float = LIMIT,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._folder = folder
        self._app = app
        self._make_store = make_store
        self._password = password
        self._starter = starter
        self._limit = limit
        self._concurrency = concurrency
        self._startup_seconds = 0.0
        self._halt = Event()

    def check_startup(self) -> float:
        """Check that a worker starts with the application; return how long it took, in seconds.

        UsageError, with the worker's own error, if it does not.
        """
        started = time.monotonic()
        harness = self._open_harness("start", START_LIMIT)
        try:
            worker = harness.start_worker("first")
            self._startup_seconds = time.monotonic() - started
            if worker.id:
                return self._startup_seconds
            lines = worker.stderr_tail().splitlines() or ["it printed nothing"]
            # The worker loads a generated application, which imports the user's.
            why = lines[-1].rpartition(": UsageError: ")[2]
            raise UsageError(f"no worker starts with {self._app or 'no application'}: {why}")
        finally:
            harness.close()

    def run(
        self, scenarios: Sequence[Scenario], on_progress: ProgressCallback
    ) -> list[ScenarioResult]:
        """Run the scenarios; return their results in the same order."""
        with ThreadPoolExecutor(self._concurrency, "conveyor-drill") as threads:
            running = [
                threads.submit(self._run_scenario, scenario, on_progress) for scenario in scenarios
            ]
            try:
                return [each.result() for each in running]
            except BaseException:
                # On Ctrl-C every harness first ends what it has started.
                self._halt.set()
                for each in running:
                    each.cancel()
                raise

    def _run_scenario(self, scenario: Scenario, on_progress: ProgressCallback) -> ScenarioResult:
        on_progress(scenario, "begins", False)  # noqa: FBT003 - nothing is known yet
        started = time.monotonic()
        harness = self._open_harness(scenario.name, self._limit + 5 * self._startup_seconds)
        try:
            rows = scenario.run(harness)
        except DrillInterruptedError:
            rows = [_incomplete("interrupted", harness)]
        except Exception:  # noqa: BLE001 - a scenario that fails has kept no promise
            rows = [_incomplete(traceback.format_exc(), harness)]
        finally:
            harness.close()
        took = time.monotonic() - started
        result = ScenarioResult(scenario.name, scenario.title, scenario.promise, took, tuple(rows))
        on_progress(scenario, "ends", result.kept)
        return result

    def _open_harness(self, name: str, limit: float) -> Harness:
        folder = self._folder / name
        return Harness(
            folder,
            url=self._make_store(folder),
            password=self._password,
            app=self._app,
            starter=self._starter,
            limit=limit,
            halt=self._halt,
        )


def _incomplete(error: str, harness: Harness) -> Row:
    output = [
        line for worker in harness.workers for line in worker.stderr_tail().splitlines()[-12:]
    ]
    check = Check("the scenario runs to its end", error.strip().splitlines()[-1], kept=False)
    return make_row("the scenario", check, facts=[*error.strip().splitlines(), *output])
