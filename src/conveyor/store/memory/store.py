"""The memory store: jobs that are lost when the process ends. It is the specification.

It defines what every other store must do, in files named like those in sql/operations/; the
conformance suite and the model test compare the others with it. It is also meant for production
within one process: any thread and any event loop may call it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...core.clock import Clock, SystemClock
from ...core.pending import Pending, failed, ready
from ...core.retry import Draw
from ...errors import UnavailableError
from ..listeners import Listeners
from ..messages import Discards, Hint, HintKind, Listener
from ..operation_store import OperationStore, operations_of
from . import (
    admin,
    artifacts,
    autoscale,
    bulk,
    claim,
    enqueue,
    failures,
    integrity,
    job_lists,
    maintenance,
    marks,
    minutes,
    running_jobs,
    stacks,
    tasks,
    tokens,
    workers,
)
from .blobs import MemoryBlobs
from .data import MemoryData

T = TypeVar("T")

OPERATIONS = operations_of(
    admin,
    artifacts,
    autoscale,
    bulk,
    claim,
    enqueue,
    failures,
    integrity,
    job_lists,
    maintenance,
    stacks,
    marks,
    minutes,
    running_jobs,
    tasks,
    tokens,
    workers,
)


class MemoryStore(OperationStore):
    """Jobs in the memory of this process. `draw` supplies the randomness of retry jitter."""

    is_local = keeps_call_order = True
    is_durable = is_multi_process = False
    folder = ""
    url = "memory:"

    def __init__(self, clock: Clock | None = None, draw: Draw = random.random) -> None:
        self._clock = clock or SystemClock()
        super().__init__(MemoryBlobs(self._clock.now))
        self._lock = threading.RLock()
        self._memory = MemoryData(draw)
        self._listeners = Listeners()
        self._closed = False

    @property
    def discards(self) -> Discards:
        return self._memory.discards

    def now(self) -> float:
        return self._clock.now()

    def listen(self, kinds: Sequence[HintKind], listener: Listener) -> Callable[[], None]:
        return self._listeners.add(kinds, listener)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._listeners.clear()

    def _run(
        self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object], *, reads: bool
    ) -> Pending[Any]:
        memory = self._memory
        with self._lock:
            if self._closed:
                return failed(UnavailableError("the memory store was closed"))
            memory.now = self._clock.now()
            try:
                answer = ready(OPERATIONS[name](memory, *args, **kwargs))
            except Exception as error:  # noqa: BLE001 - errors are answers too
                return failed(error)
            if not memory.hints:
                return answer
            hints, memory.hints = memory.hints, {}
        # Outside the lock, so that a listener may call the store.
        for kind, subjects in hints.items():
            self._listeners.tell(Hint(kind, tuple(subjects)))
        return answer

    def _run_blocking(self, work: Callable[[], T]) -> Pending[T]:
        if self._closed:
            return failed(UnavailableError("the memory store was closed"))
        try:
            return ready(work())
        except Exception as error:  # noqa: BLE001 - errors are answers too
            return failed(error)
