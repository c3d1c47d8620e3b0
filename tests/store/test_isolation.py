"""Two calls at once on PostgreSQL do what they do one after the other, in any order of steps."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from interleaved_calls import (
    OPERATIONS,
    Outcome,
    finish_all,
    outcome,
    prepare,
    serial_outcomes,
    sided,
)

from conveyor.store.postgres.store import PostgresStore
from conveyor.testing import FakeClock
from interleaving import Choices, Interleaving, all_orders, interleaving
from postgres_schema import Schemas

Pair = tuple[str, str]
PAIRS: list[Pair] = list(itertools.combinations_with_replacement(OPERATIONS, 2))
# Operations that once had an outcome of no serial order.
FOUND: list[Pair] = [
    ("bounded insert", "lower a capacity"),
    ("bounded insert that drops", "lower a capacity"),
    ("extend a lapsed one", "dismiss"),
    ("insert that follows", "settle"),
]


class NotSerialError(Exception):
    """Two calls answered or left behind what no order of the two would."""


# On a busy machine the server may end a session that waits for its step for too long: that run does
# not count.
LOST = ("error", "LostError")
TRIES = 3


class Duet:
    """Two stores that are stepped, and a third that prepares and looks."""

    def __init__(self, url: str, stepped: Interleaving) -> None:
        self.clock = FakeClock()
        self.stepped = stepped
        self.stores = [self._open(each) for each in stepped.urls]
        self.third = self._open(url)
        self._known: dict[Pair, list[Outcome]] = {}

    def close(self) -> None:
        for store in (*self.stores, self.third):
            store.close()

    def run(self, pair: Pair, choices: Choices) -> None:
        """Run two calls in an order of steps; NotSerialError unless the outcome is a serial one."""
        operations = [OPERATIONS[name] for name in pair]
        for _ in range(TRIES):
            choices.made.clear()
            before = prepare(self.third, self.clock)
            calls = [
                sided(operation.make, store, side)
                for operation, store, side in zip(operations, self.stores, "ab", strict=True)
            ]
            answers = self.stepped.run(calls, choices)
            seen = outcome(answers, self.third, before)
            if LOST not in answers:
                break
            finish_all(self.third, self.clock)
        if pair not in self._known:
            self._known[pair] = serial_outcomes(*operations)
        if seen not in self._known[pair]:
            raise NotSerialError(f"{pair} in the order {choices.made}: {seen}")
        finish_all(self.third, self.clock)

    def run_orders(self, pair: Pair, *, most: int, switches: int = 3) -> int:
        """Run two calls in so many orders of steps; return how many there were."""
        return all_orders(lambda choices: self.run(pair, choices), most=most, switches=switches)

    def _open(self, url: str) -> PostgresStore:
        store = PostgresStore(url, clock=self.clock, draw=lambda: 0.5)
        # The session of hints, which is not stepped, is known by what it says first.
        store.listen(["access"], lambda _: None)
        return store


@contextmanager
def duet(
    schemas: Schemas, folder: Path, rewrite: Callable[[str], str] | None = None
) -> Iterator[Duet]:
    # Its functions are changed, so no other test gets this schema.
    with Schemas(schemas.server).one() as url, interleaving(folder, url) as stepped:
        stepped.rewrite(rewrite)
        opened = Duet(url, stepped)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def playing(schemas: Schemas, tmp_path: Path) -> Iterator[Duet]:
    with duet(schemas, tmp_path) as opened:
        yield opened


def test_two_calls_at_once_do_what_they_do_one_after_the_other(playing: Duet) -> None:
    drawn = random.Random(14)
    for pair in [*FOUND, *drawn.sample(PAIRS, 25)]:
        playing.run(pair, Choices([drawn.randrange(2) for _ in range(40)]))


@pytest.mark.parametrize("pair", FOUND, ids=" - ".join)
def test_what_was_found_once_is_right_in_every_order(playing: Duet, pair: Pair) -> None:
    assert playing.run_orders(pair, most=6, switches=1) > 5


@pytest.mark.slow
@pytest.mark.parametrize("first", OPERATIONS)
def test_any_two_calls_at_once_do_what_they_do_one_after_the_other(
    playing: Duet, first: str
) -> None:
    orders = sum(playing.run_orders(pair, most=40) for pair in PAIRS if pair[0] == first)
    assert orders


# -- known-bad controls ----------------------------------------------------------------------------


class Plant(NamedTuple):
    """A fault of the statements, and calls that show it."""

    pattern: str
    instead: str
    pairs: Sequence[Pair]

    def rewrite(self, text: str) -> str:
        return re.sub(self.pattern, self.instead, text, flags=re.DOTALL)


PLANTS = {
    "a guard without the state": Plant(
        r"AND (\w+\.)?state (=|LIKE) 'running'", "", [("settle a lapsed one", "rescue")]
    ),
    "a guard without the lease": Plant(
        r"AND (\w+\.)?lease = (given\w*\.?\w*|\$\d+::\w+)",
        "",
        [("settle a lapsed one", "take over"), ("extend a lapsed one", "take over")],
    ),
    "a bound that is counted without a lock": Plant(
        r"(FROM queue WHERE name = ANY\(\S+\) ORDER BY name) FOR UPDATE",
        r"\1",
        [("bounded insert", "bounded insert"), ("bounded insert", "lower a capacity")],
    ),
    "a claim without FOR UPDATE": Plant(
        r"FOR UPDATE SKIP LOCKED", "", [("claim", "claim"), ("claim", "cancel a waiting one")]
    ),
    "orders that are read without a lock": Plant(
        r"pg_advisory_xact_lock(_shared)?\(", "abs(", [("claim as an idle worker", "quiet if idle")]
    ),
}


def is_found(schemas: Schemas, folder: Path, plant: Plant) -> bool:
    folder.mkdir()
    with duet(schemas, folder, plant.rewrite) as opened:
        for pair in plant.pairs:
            try:
                opened.run_orders(pair, most=40)
            except NotSerialError:
                return True
    return False


def test_at_least_three_planted_faults_are_found(schemas: Schemas, tmp_path: Path) -> None:
    found: list[str] = []
    for number, (name, plant) in enumerate(PLANTS.items()):
        if len(found) < 3 and is_found(schemas, tmp_path / str(number), plant):
            found.append(name)
    assert len(found) == 3
