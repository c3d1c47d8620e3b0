"""Reads the frames of code that runs or is suspended in this process."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from ..core.stack import MAX_FRAMES, Frame

# Where the call of a coroutine goes on, in the order in which they are tried.
INNER = ("cr_await", "gi_yieldfrom", "ag_await")
SUSPENDED = ("cr_frame", "gi_frame", "ag_frame")
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STANDARD = tuple(
    f"{folder}{os.sep}"
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
INSTALLED = {"site-packages", "dist-packages"}


def frames_of_coroutine(code: object) -> list[Frame]:
    """Return the frames of a suspended coroutine, from the outermost to what it waits in."""
    return _shown(_suspended(code))


def frames_of_thread(thread: int) -> list[Frame]:
    """Return the frames of a thread of this process, the outermost first; none if it has ended."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, for debuggers like this
    calls: list[tuple[FrameType, int]] = []
    while frame is not None and len(calls) < sys.getrecursionlimit():
        calls.append((frame, frame.f_lineno or 0))
        frame = frame.f_back
    return _shown(reversed(calls))


def _suspended(code: object) -> Iterator[tuple[FrameType, int]]:
    for _ in range(10 * MAX_FRAMES):
        frame: Any = _first(code, SUSPENDED)
        if frame is not None:
            yield frame, frame.f_lineno or 0
        code = _first(code, INNER)
        if code is None:
            return


def _first(value: object, names: Iterable[str]) -> Any:
    found = (getattr(value, name, None) for name in names)
    return next((each for each in found if each is not None), None)


def _shown(calls: Iterable[tuple[FrameType, int]]) -> list[Frame]:
    """Return the calls from the job's own function on: not those of this package around it."""
    frames: list[Frame] = []
    for frame, line in calls:
        path = frame.f_code.co_filename
        if frames or not _is_ours(path):
            text = linecache.getline(path, line, frame.f_globals).strip()
            frames.append(Frame(path, line, frame.f_code.co_qualname, text, _is_own(path)))
    return frames


def _is_ours(path: str) -> bool:
    """Whether a file belongs to what runs jobs: this package, and what runs it."""
    return path.startswith((PACKAGE + os.sep, "<frozen")) or (
        path.startswith(STANDARD) and not INSTALLED.intersection(path.split(os.sep))
    )


def _is_own(path: str) -> bool:
    """Whether a file belongs to the application."""
    if path.startswith((PACKAGE + os.sep, "<")):
        return False
    return not path.startswith(STANDARD) and not INSTALLED.intersection(path.split(os.sep))
