"""Scalers, server and agents in virtual time: what is promised of machines always holds."""

from __future__ import annotations

import pytest
from bad_scalers import BAD_SCALERS, BadScaler
from fleet import FleetWorld
from playback import failures_of_many
from world import run

pytestmark = pytest.mark.computes

BUDGET = 100


def test_the_promises_about_machines_hold_in_five_hundred_histories() -> None:
    failed = failures_of_many(range(500), FleetWorld)
    assert not failed, f"{len(failed)} seeds failed\n\n" + "\n\n".join(failed[:3])


@pytest.mark.slow
def test_the_promises_about_machines_hold_in_five_thousand_histories() -> None:
    failed = failures_of_many(range(500, 5_500), FleetWorld)
    assert not failed, f"{len(failed)} seeds failed\n\n" + "\n\n".join(failed[:3])


@pytest.mark.parametrize("bad", BAD_SCALERS, ids=lambda each: each.what)
def test_a_scaler_with_something_wrong_is_caught(bad: BadScaler) -> None:
    seen: set[str] = set()
    for seed in range(BUDGET):
        seen |= run(seed, FleetWorld, scaler=bad.make).rules_broken()
        if bad.breaks in seen:
            return
    pytest.fail(f"{bad.breaks!r} was not seen in {BUDGET} seeds, but {seen}")


def test_everything_that_may_go_wrong_does() -> None:
    missing = {
        ("CLOUD", "lost"),
        ("CLOUD", "unheard"),
        ("CRASH", "scaler1"),
        ("STOPPED", "scaler1"),
        ("CUT", "scaler1"),
        ("NO SERVER", 30.0),
        ("fails", "gone"),
        ("fails", "running"),
        ("fails", "errored"),
        ("late", ""),
    }
    for seed in range(BUDGET):
        fleet = run(seed, FleetWorld)
        for _, what, *more in fleet.trace:
            missing.discard((what, more[0] if more else ""))
            if what == "MACHINE FAILS":
                missing.discard(("fails", more[1]))
        if fleet.cloud.late:
            missing.discard(("late", ""))
        if not missing:
            return
    pytest.fail(f"{missing} never happens")


def test_one_seed_gives_one_history_of_the_fleet() -> None:
    assert run(3, FleetWorld).digest() == run(3, FleetWorld).digest()
