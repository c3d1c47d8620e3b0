"""Job ids: UUIDv7, growing, never twice."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from conveyor.core.ids import IdMaker


def test_an_id_is_a_uuid_of_version_seven_that_holds_its_time() -> None:
    made = uuid.UUID(IdMaker().make(1_700_000_000.123))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_grow_even_when_the_clock_goes_backwards() -> None:
    maker = IdMaker()
    made = [maker.make(100.0 - step / 1000) for step in range(5_000)]
    assert made == sorted(set(made))


def test_threads_never_get_the_same_id() -> None:
    maker = IdMaker()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: maker.make(1.0), range(5_000)))
    assert len(set(made)) == len(made)
