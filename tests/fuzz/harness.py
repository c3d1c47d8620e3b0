"""Runs decoders of foreign bytes on inputs at random, and says what they may not do.

A decoder may return, or raise what its target allows. It may not raise anything else, take long,
need much memory, or lose what its own encoder has written.
"""

from __future__ import annotations

import atexit
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from mutation import mutate

# In seconds. What takes longer is measured once more, in CPU time of this thread.
LONGEST_TIME = 1.0
# In KiB of resident memory that one input may add to the highest so far.
MOST_MEMORY = 96 << 10


class Target(NamedTuple):
    """A decoder: its name, seeds that it accepts, and the exceptions that it may raise.

    `encode` turns what it returns back into bytes, from which it must make the same again.
    """

    name: str
    decode: Callable[[bytes], Any]
    seeds: Sequence[bytes]
    allowed: tuple[type[Exception], ...] = ()
    encode: Callable[[Any], bytes] | None = None


def scratch_folder() -> Path:
    """Make a directory, in memory if possible, for decoders that read files."""
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("TMPDIR", in_memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class FaultError(AssertionError):
    """A decoder did what it may not do with an input."""

    def __init__(self, target: Target, data: bytes, what: str) -> None:
        self.data = data
        super().__init__(f"{target.name}: {what}, for the input {data!r}")


class _TooLongError(BaseException):
    """Raised within a decoder that takes too long; nothing in it catches this."""


class Trial:
    """Tries a target on one input after the other."""

    def __init__(self, target: Target, longest_time: float = LONGEST_TIME) -> None:
        self.target = target
        self.tried = 0
        self._longest_time = longest_time
        self._seen = -1
        forget_peak()
        self._memory = _peak()

    def __call__(self, data: bytes) -> None:
        """Raise FaultError if the decoder does what it may not do with this input."""
        self.tried += 1
        target = self.target
        begun = time.perf_counter()
        try:
            value = target.decode(data)
            if target.encode is not None:
                _check_round_trip(target, data, value)
        except target.allowed:
            pass
        except FaultError:
            raise
        except _TooLongError:
            raise FaultError(target, data, "did not end in time") from None
        except Exception as error:
            raise FaultError(target, data, f"raised {error!r:.200}") from error
        if time.perf_counter() - begun > self._longest_time:
            took = self._time(data)
            if took > self._longest_time:
                raise FaultError(target, data, f"took {took:.1f} s")
        memory = _peak()
        if memory - self._memory > MOST_MEMORY:
            raise FaultError(target, data, f"took {memory - self._memory:,} KiB of memory")
        self._memory = memory

    def _time(self, data: bytes) -> float:
        """Return the CPU time that an input takes once more: perhaps the machine was busy."""
        self._seen = -1
        begun = time.thread_time()
        try:
            self.target.decode(data)
        except self.target.allowed:
            pass
        except _TooLongError:
            return math.inf
        return time.thread_time() - begun

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Interrupt an input that does not end. In the main thread only."""
        before = signal.signal(signal.SIGVTALRM, self._tick)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * self._longest_time, 2 * self._longest_time)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def _tick(self, *_: object) -> None:
        if self._seen == self.tried:
            raise _TooLongError
        self._seen = self.tried


def fuzz(
    target: Target,
    inputs: int,
    *,
    seconds: float = 1e9,
    seed: int = 1,
    longest_time: float = LONGEST_TIME,
) -> int:
    """Try the seeds and then inputs made from them; return how many. FaultError at the first fault.

    It ends early after so many `seconds`. Call it in the main thread.
    """
    trial, draw = Trial(target, longest_time), random.Random(seed)
    until = time.monotonic() + seconds
    with trial.watched():
        for data in target.seeds:
            trial(data)
        while trial.tried < inputs and (trial.tried % 100 or time.monotonic() < until):
            trial(mutate(draw, target.seeds))
    return trial.tried


def accepted(target: Target) -> list[bool]:
    """Return which of the seeds a target's decoder accepts."""
    return [_accepts(target, each) for each in target.seeds]


def _accepts(target: Target, data: bytes) -> bool:
    try:
        target.decode(data)
    except target.allowed:
        return False
    return True


def _check_round_trip(target: Target, data: bytes, value: Any) -> None:
    assert target.encode is not None
    written = target.encode(value)
    try:
        again = target.decode(written)
    except target.allowed as error:
        raise FaultError(target, data, f"does not read back {written!r}: {error}") from error
    if again != value:
        raise FaultError(target, data, f"reads back {again!r} for {value!r}")


def forget_peak() -> bool:
    """Count the peak of this process's memory from now on; return whether the system can."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
        return True
    return False


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 10 if sys.platform == "darwin" else peak
