"""The simulated network between one party and the store: late, lost and cut, but in order."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from loop import Process

from conveyor.core.pending import Pending, wake
from conveyor.errors import ConveyorError, UnavailableError
from conveyor.store.messages import NO_DISCARDS, Hint, HintKind

if TYPE_CHECKING:
    from world import World

# How long a party waits for an answer before it calls the store unavailable.
PATIENCE = 2.0


class Wire:
    """A store, seen over a network. Every method of the store can be called, and may get lost.

    What one party asks is carried out in the order of asking, as the store's protocol says; what
    was given up may still be carried out. `trouble_until` is the last moment at which a fault of
    this wire may be felt.
    """

    is_durable = answers_can_be_lost = can_be_partitioned = True
    is_multi_process = is_local = is_server = keeps_call_order = False
    maintains_itself = records_actions = False
    secret = ""
    folder, discards = "", NO_DISCARDS
    url = "simulated:"

    def __init__(self, world: World, name: str, process: Process | None = None) -> None:
        self.name = name
        self.process = process
        self.trouble_until = -1e9
        self.deaf = False
        self.no_way_there = False
        self.no_way_back = False
        self._world = world
        self._applied_at = 0.0
        self._answered_at = 0.0

    def __getattr__(self, operation: str) -> Callable[..., Pending[Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        def ask(*args: Any, **kwargs: Any) -> Pending[Any]:
            return self._ask(operation, args, kwargs)

        self.__dict__[operation] = ask
        return ask

    def now(self) -> float:
        return self._world.clock.now()

    def cut(self, *, there: bool, back: bool) -> None:
        """Break the line in one direction or both."""
        self.no_way_there, self.no_way_back = there, back

    def listen(self, kinds: Sequence[HintKind], listener: Callable[[Hint], None]) -> Any:
        world = self._world
        context = contextvars.Context() if self.process is None else self.process.context

        def arrive(hint: Hint) -> None:
            if not world.over:
                world.witness.hinted(self, hint)
                listener(hint)

        def carry(hint: Hint) -> None:
            rng = world.rng
            if world.over or self.deaf or self.no_way_back or rng.random() < world.badness * 3:
                return
            for _ in range(2 if rng.random() < world.badness * 3 else 1):
                world.loop.at(world.loop.now + self._delay()[0], arrive, hint, context=context)

        return world.store.listen(kinds, carry)

    def _delay(self) -> tuple[float, bool]:
        rng = self._world.rng
        if rng.random() < self._world.badness:
            return rng.uniform(0.5, 2.5 * PATIENCE), True
        return 0.001 + rng.random() * 0.02, False

    def _ask(self, operation: str, args: Any, kwargs: Any) -> Pending[Any]:
        world, loop = self._world, self._world.loop
        pending: Pending[Any] = Pending()
        if world.over:
            loop.at(loop.now + 0.1, self._give_up, pending, operation, context=world.context)
            return pending
        sent = loop.now
        loop.at(sent + PATIENCE, self._give_up, pending, operation, context=world.context)
        delay, late = self._delay()
        if self.no_way_there or world.rng.random() < world.badness:
            self._trouble(sent + PATIENCE)
            world.note("lost request", self.name, operation)
            return pending
        at = max(self._applied_at, sent + delay)
        self._applied_at = at
        if late or at > sent + 0.5:
            self._trouble(at + PATIENCE)
        loop.at(at, self._apply, pending, operation, args, kwargs, sent, context=world.context)
        return pending

    def _apply(
        self, pending: Pending[Any], operation: str, args: Any, kwargs: Any, sent: float
    ) -> None:
        world = self._world
        if world.over:
            return
        answer = world.witness.carry_out(self, operation, args, kwargs)
        delay, late = self._delay()
        if self.no_way_back or world.rng.random() < world.badness:
            self._trouble(sent + PATIENCE)
            world.note("lost answer", self.name, operation)
            return
        at = max(self._answered_at, world.loop.now + delay)
        self._answered_at = at
        if late or at > world.loop.now + 0.5:
            self._trouble(at + PATIENCE)
        world.loop.at(
            at, self._arrive, pending, operation, args, answer, sent, context=world.context
        )

    def _arrive(
        self, pending: Pending[Any], operation: str, args: Any, answer: Any, sent: float
    ) -> None:
        if pending.done:
            return  # given up before it came
        if isinstance(answer, ConveyorError):
            pending.fail(answer)
        else:
            self._world.witness.answered(self, operation, args, answer, sent)
            pending.resolve(answer)
        wake([pending])

    def _give_up(self, pending: Pending[Any], operation: str) -> None:
        if not pending.done:
            pending.fail(UnavailableError(f"no answer to {operation} within {PATIENCE:g} s"))
            wake([pending])

    def _trouble(self, until: float) -> None:
        self.trouble_until = max(self.trouble_until, until)
