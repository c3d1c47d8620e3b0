"""Where claims from PostgreSQL begin: the rule, and that it hides no job for long."""

from __future__ import annotations

from calls import claim, new, put, settle

from conveyor.core.lifecycle import Interrupted
from conveyor.store.postgres.floors import (
    HIGHEST,
    LOOK_EVERY,
    LOOK_LATEST,
    LOOK_SHARE,
    MANY,
    START,
    Floors,
)
from conveyor.store.postgres.quick_exchange import MOST_SERVING
from conveyor.store.postgres.store import PostgresStore
from postgres_schema import Schemas

LANE = 7


def claimed(count: int, first: int = 0, rank: int = -1) -> list[tuple[int, tuple[int, float, int]]]:
    return [(LANE, (rank, 5.0, first + number)) for number in range(count)]


def full_claim(
    floors: Floors, jobs: int = MANY + 1, *, took: float = 0.0, now: float = 0.0
) -> None:
    floors.note(claimed(jobs), [LANE], (), full=True, took=took, now=now)


def test_a_lane_of_which_few_jobs_were_claimed_has_no_floor() -> None:
    floors = Floors()
    full_claim(floors, MANY)
    assert floors.usable([LANE], 0.0) == frozenset()
    assert floors.parts(LANE, ()) == [(START, HIGHEST)]


def test_a_claim_begins_where_the_last_one_did_and_sees_all_higher_priorities() -> None:
    floors = Floors()
    full_claim(floors)
    assert floors.usable([LANE, 8], 0.0) == {LANE}
    assert floors.parts(LANE, {LANE}) == [(START, -2), ((-1, 5.0, 0), HIGHEST)]
    assert floors.parts(8, {LANE}) == [(START, HIGHEST)]


def test_a_job_of_a_higher_priority_does_not_lower_the_floor() -> None:
    floors = Floors()
    full_claim(floors)
    jobs = [*claimed(1, rank=-9), *claimed(3, first=300)]
    floors.note(jobs, [LANE], {LANE}, full=True, took=0.0, now=0.0)
    assert floors.parts(LANE, {LANE})[-1] == ((-1, 5.0, 300), HIGHEST)


def test_a_lane_is_looked_at_from_its_start_in_a_small_part_of_the_time() -> None:
    floors = Floors()
    full_claim(floors, now=10.0)
    assert floors.usable([LANE], 10.0 + LOOK_EVERY) == frozenset()
    full_claim(floors, took=0.2, now=20.0)
    assert floors.usable([LANE], 19.9 + 0.2 * LOOK_SHARE) == {LANE}
    # A claim from the floor does not put off the next look.
    floors.note(claimed(5, 500), [LANE], {LANE}, full=True, took=9.0, now=21.0)
    assert floors.usable([LANE], 20.1 + 0.2 * LOOK_SHARE) == frozenset()
    # A look that took long, for an outage say, does not put off the next one for minutes.
    full_claim(floors, took=60.0, now=90.0)
    assert floors.usable([LANE], 89.9 + LOOK_LATEST) == {LANE}
    assert floors.usable([LANE], 90.0 + LOOK_LATEST) == frozenset()


def test_a_claim_that_gets_less_than_it_asks_for_ends_the_floors_of_its_lanes() -> None:
    floors = Floors()
    full_claim(floors)
    floors.note(claimed(1), [LANE], {LANE}, full=False, took=0.0, now=0.0)
    assert floors.usable([LANE], 0.0) == frozenset()


def test_a_job_below_the_floor_is_claimed_at_once_if_there_is_no_other(
    postgres: PostgresStore,
) -> None:
    put(postgres, *(new() for _ in range(2 * MANY + 1)))
    [first, *_] = claim(postgres, MANY)
    claim(postgres, MANY)
    floors = postgres._postgres._opened.exchange._floors
    assert settle(postgres, first, Interrupted())
    [late] = put(postgres, new(priority=5))
    lanes = list(floors._places)
    assert lanes
    floors._look_at[lanes[0]] = float("inf")
    assert [job.id for job in claim(postgres, 1)] == [late]
    assert floors.usable(lanes, 0.0)
    assert {job.id for job in claim(postgres, 9)} > {first.id}
    assert not floors.usable(lanes, 0.0)


def test_a_claim_sees_lanes_that_another_process_has_made_since_the_last_one(
    schemas: Schemas,
) -> None:
    with schemas.one() as url:
        store, other = PostgresStore(url), PostgresStore(url)
        for labels in ((), ("gpu",), ("gpu", "linux")):
            # The first claim looks which lanes there are, the second one knows.
            for _ in range(2):
                [job] = put(other, new(requires=labels))
                assert [each.id for each in claim(store, 9, labels=("gpu", "linux"))] == [job]
            put(other, new(requires=labels))
            assert len(claim(store, 9, labels=("gpu",))) == ("linux" not in labels)
            assert claim(store, 9) == []
        store.close()
        other.close()


def test_a_process_that_claims_for_workers_with_many_labels_keeps_few_of_their_lanes(
    schemas: Schemas,
) -> None:
    with schemas.one() as url:
        store = PostgresStore(url)
        jobs = put(
            store, *(new(requires=(f"label-{number}",)) for number in range(MOST_SERVING + 5))
        )
        for number, job in enumerate(jobs):
            assert [each.id for each in claim(store, labels=(f"label-{number}",))] == [job]
        store.close()
