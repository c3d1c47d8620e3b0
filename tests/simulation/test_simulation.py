"""Worker, store and lease in virtual time: what is promised holds in every history of a seed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest
from faults import FAULTS, Fault
from loop import Process, VirtualLoop
from playback import HERE, failure, failures_of_many, kept_seeds, play, story
from promises import TO_COME, broken_promises

pytestmark = pytest.mark.computes

BUDGET = 300
MASKED_BUDGET = 30


@pytest.mark.parametrize("seed", kept_seeds())
def test_a_seed_that_once_failed_does_not_fail_again(seed: int) -> None:
    assert failure(seed) is None, failure(seed)


def test_the_promises_hold_in_a_thousand_histories() -> None:
    failed = failures_of_many(range(1_000))
    assert not failed, f"{len(failed)} seeds failed\n\n" + "\n\n".join(failed[:3])


@pytest.mark.slow
def test_the_promises_hold_in_twenty_thousand_histories() -> None:
    failed = failures_of_many(range(1_000, 21_000))
    assert not failed, f"{len(failed)} seeds failed\n\n" + "\n\n".join(failed[:3])


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if not each.masked], ids=lambda each: each.what
)
def test_a_planted_fault_is_caught(fault: Fault) -> None:
    seen: set[str] = set()
    for seed in range(BUDGET):
        seen |= play(seed, fault).rules_broken()
        if seen & fault.caught_by:
            return
    pytest.fail(f"nothing of {set(fault.caught_by)} was seen in {BUDGET} seeds, but {seen}")


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.masked], ids=lambda each: each.what
)
def test_a_masked_fault_is_not_caught_so_its_reason_still_holds(fault: Fault) -> None:
    for seed in range(MASKED_BUDGET):
        assert broken_promises(play(seed, fault)) == []


def test_what_is_called_a_promise_to_come_is_not_kept_yet() -> None:
    missing = set(TO_COME)
    for seed in range(BUDGET):
        missing -= play(seed).rules_broken()
        if not missing:
            return
    pytest.fail(f"no seed breaks {missing} any more: take that out of TO_COME")


def test_one_seed_gives_one_history_whatever_the_hashes() -> None:
    here = [play(seed).digest() for seed in (1, 2, 40)]
    program = "from playback import play; print(*(play(seed).digest() for seed in (1, 2, 40)))"
    for hashes in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", program],
            cwd=HERE,
            env={"PYTHONHASHSEED": hashes, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.split() == here
    assert len(set(here)) == 3


def test_a_failing_seed_says_how_to_play_it_alone() -> None:
    world = play(0, FAULTS[0])
    assert "STARTS w1" in story(world)
    seed = next(n for n in range(BUDGET) if "settle" in play(n, FAULTS[0]).rules_broken())
    program = [sys.executable, str(HERE), str(seed), FAULTS[0].what]
    env = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    told = subprocess.run(program, env=env, capture_output=True, text=True, check=True).stdout
    assert "BROKEN settle" in told


class TestTheLoop:
    def test_time_passes_only_where_nothing_is_left_to_do(self) -> None:
        loop = VirtualLoop(random.Random(0))
        loop.run_until_complete(asyncio.sleep(86400.0))
        assert loop.now == pytest.approx(86400.0)
        loop.close()

    def test_a_stopped_process_does_late_what_it_would_have_done(self) -> None:
        assert _wakes(lid=False) == pytest.approx(5.0)

    def test_a_closed_lid_also_holds_the_timers_back(self) -> None:
        assert _wakes(lid=True) == pytest.approx(7.0)

    def test_what_a_dead_process_would_do_never_happens(self) -> None:
        loop = VirtualLoop(random.Random(0))
        process, done = Process("victim"), []
        loop.call_later(2.0, done.append, "late", context=process.context)
        process.gone = True
        loop.run_until_complete(asyncio.sleep(10.0))
        assert done == []
        loop.close()


def _wakes(*, lid: bool) -> float:
    """Return when a sleep of 3 s ends in a process that is frozen from 1 s to 5 s."""
    loop = VirtualLoop(random.Random(0))
    process, woken = Process("sleeper"), []

    def freeze() -> None:
        loop.freeze(process, lid=lid)

    def thaw() -> None:
        loop.thaw(process, 4.0 if lid else 0.0)

    loop.call_later(3.0, lambda: woken.append(loop.now), context=process.context)
    loop.call_later(1.0, freeze)
    loop.call_later(5.0, thaw)
    loop.run_until_complete(asyncio.sleep(20.0))
    loop.close()
    return woken[0]
