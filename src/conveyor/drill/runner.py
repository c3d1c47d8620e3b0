"""Plays scenes, a few at a time, each on a stage of its own, and collects the verdicts."""

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
from .harness import HaltedError, Stage
from .scenarios import Scene
from .verdict import Check, Row, row
from .workers import Starter, start_worker

# How long one scene may take, in seconds, beside what its workers need to start.
LIMIT = 40.0
# How long a worker may need to be heard of.
START = 60.0
# Scenes at a time. Each has two busy workers at most, and what they measure is to be theirs.
AT_ONCE = max(2, min(4, (os.cpu_count() or 2)))

Phase = Literal["begins", "ends"]
Told = Callable[[Scene, Phase, bool], None]


class Played(msgspec.Struct, frozen=True):
    """What became of a scene. `took` is how long it lasted, in seconds."""

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
    """A drill in `folder` of the application `app` ("module:name"; None: of none).

    `starter` starts its workers, `limit` is how long a scene may take, in seconds, and `at_once`
    how many are played at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        app: str | None = None,
        starter: Starter = start_worker,
        limit: float = LIMIT,
        at_once: int = AT_ONCE,
    ) -> None:
        self._folder = folder
        self._app = app
        self._starter = starter
        self._limit = limit
        self._at_once = at_once
        self._start_up = 0.0
        self._halt = Event()

    def rehearse(self) -> float:
        """See that a worker starts with the application; returns how long that took, in seconds.

        UsageError, with what the worker said, when it does not.
        """
        begun = time.monotonic()
        stage = self._stage("start", START)
        try:
            worker = stage.start("first")
            self._start_up = time.monotonic() - begun
            if worker.id:
                return self._start_up
            said = worker.said().splitlines() or ["it said nothing"]
            why = said[-1].rpartition("does not import: UsageError: ")[2]
            raise UsageError(f"no worker starts with {self._app or 'no application'}: {why}")
        finally:
            stage.close()

    def play(self, scenes: Sequence[Scene], tell: Told) -> list[Played]:
        """Play them, and tell when each begins and ends; returns them in their order."""
        with ThreadPoolExecutor(self._at_once, "conveyor-drill") as threads:
            playing = [threads.submit(self._play, scene, tell) for scene in scenes]
            try:
                return [each.result() for each in playing]
            except BaseException:
                # Ctrl-C: every stage ends what it has started, and the drill then.
                self._halt.set()
                for each in playing:
                    each.cancel()
                raise

    def _play(self, scene: Scene, tell: Told) -> Played:
        tell(scene, "begins", False)  # noqa: FBT003 - nothing is known yet
        begun = time.monotonic()
        stage = self._stage(scene.name, self._limit + 5 * self._start_up)
        try:
            rows = scene.play(stage)
        except HaltedError:
            rows = [_not_played("it was interrupted", stage)]
        except Exception:  # noqa: BLE001 - what a scene cannot cope with is no promise kept
            rows = [_not_played(traceback.format_exc(), stage)]
        finally:
            stage.close()
        took = time.monotonic() - begun
        played = Played(scene.name, scene.title, scene.promise, took, tuple(rows))
        tell(scene, "ends", played.kept)
        return played

    def _stage(self, name: str, limit: float) -> Stage:
        folder = self._folder / name
        return Stage(folder, app=self._app, starter=self._starter, limit=limit, halt=self._halt)


def _not_played(error: str, stage: Stage) -> Row:
    said = [line for worker in stage.workers for line in worker.said().splitlines()[-12:]]
    check = Check("the scene is played to its end", error.strip().splitlines()[-1], kept=False)
    return row("the scene", check, facts=[*error.strip().splitlines(), *said])
