"""A store whose answers to an insert and a withdrawal come when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conveyor.core.job import NewJob
from conveyor.core.pending import Pending, wake
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Accepted, Offered

Answer = Accepted | Offered


class Held:
    """A store's answers that arrive when the test says so."""

    def __init__(self) -> None:
        self.answers: list[tuple[Pending[Any], Any]] = []

    def hold(self, answer: Pending[Any]) -> Pending[Any]:
        pending: Pending[Any] = Pending()
        self.answers.append((pending, answer.result()))
        return pending

    def release(self) -> Any:
        [(pending, answer)] = self.answers
        pending.resolve(answer)
        wake([pending])
        return answer


class SlowStore(MemoryStore):
    """Carries out each call at once, and answers an insert or a withdrawal when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inserting, self.withdrawing = Held(), Held()

    def insert(self, jobs: Sequence[NewJob], **options: Any) -> Pending[Answer]:
        return self.inserting.hold(super().insert(jobs, **options))

    def withdraw(self, offer: str) -> Pending[Accepted | None]:
        return self.withdrawing.hold(super().withdraw(offer))
