"""The options of a worker as a program gives them: each is checked, with the value in the error."""

from __future__ import annotations

import asyncio
import datetime as dt
from math import inf, nan
from typing import Any

import pytest

from conveyor import CommandRules, Conveyor, State, UsageError
from conveyor.worker.options import MAX_SLOTS, RULES, WorkerOptions, parse_worker_options


def test_every_option_has_a_rule() -> None:
    assert set(RULES) == set(WorkerOptions.__struct_fields__)


@pytest.mark.parametrize(
    "given",
    [
        {"queues": "default"},
        {"queues": b"default"},
        {"queues": {"default": 2}},
        {"queues": 3},
        {"queues": [""]},
        {"queues": [None]},
        {"queues": [("mail",)]},
        {"queues": [("mail", 1, 2)]},
        {"queues": [("mail", 0)]},
        {"queues": [("mail", 1001)]},
        {"queues": [("mail", True)]},
        {"queues": [("mail", "2")]},
        {"queues": [(3, 2)]},
        {"queues": ["mail", ("mail", 2)]},
        {"queues": ["caf\udce9"]},
        {"slots": 0},
        {"slots": -1},
        {"slots": 2.0},
        {"slots": "4"},
        {"slots": True},
        {"slots": 10**30},
        {"slots": MAX_SLOTS + 1},
        {"strict": 1},
        {"most": 0},
        {"most": 1.5},
        {"most": nan},
        {"labels": "gpu"},
        {"labels": [3]},
        {"labels": 3},
        {"commands": False},
        {"lease_for": 0},
        {"lease_for": -1},
        {"lease_for": nan},
        {"lease_for": inf},
        {"lease_for": None},
        {"poll": 0},
        {"poll": "often"},
        {"beat": -5},
        {"drain": -1},
        {"drain": inf},
        {"app": None},
        {"keep": "yes"},
        {"max_jobs_per_process": -1},
        {"max_rss_mb": -1},
        {"retention": 3},
        {"retention": {"running": 3}},
        {"retention": {"completed": -1}},
        {"retention": {"completed": nan}},
        {"on_round": "print"},
        {"colour": "red"},
        {"concurrency": 4},
    ],
)
def test_a_wrong_option_is_refused_with_its_name(given: dict[str, Any]) -> None:
    [name] = given
    with pytest.raises(UsageError, match=f"worker option '?{name}"):
        Conveyor("memory:").worker(**given)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"queues": ["a", ("b", 3), ["c", 2]]}, "queues", (("a", 1), ("b", 3), ("c", 2))),
        ({"queues": ("eu:1",)}, "queues", (("eu:1", 1),)),
        ({"queues": (each for each in "ab")}, "queues", (("a", 1), ("b", 1))),
        ({"labels": {"gpu", "ssd"}}, "labels", frozenset({"gpu", "ssd"})),
        ({"most": inf}, "most", inf),
        ({"drain": 0}, "drain", 0.0),
        ({"lease_for": "2m"}, "lease_for", 120.0),
        ({"poll": dt.timedelta(seconds=3)}, "poll", 3.0),
        ({"retention": {"completed": inf}}, "retention", {State.COMPLETED: inf}),
        ({"commands": CommandRules(allowed=False)}, "commands", CommandRules(allowed=False)),
    ],
)
def test_a_right_option_is_understood(given: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(parse_worker_options(given), name) == value


@pytest.mark.parametrize("timeout", ["soon", -1, nan, None, True])
def test_a_stop_takes_a_duration(timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout must be"):
        Conveyor("memory:").stop(timeout)
    with pytest.raises(UsageError, match="timeout must be"):
        asyncio.run(Conveyor("memory:").astop(timeout))


@pytest.mark.parametrize("timeout", ["soon", -1, nan, True])
def test_work_takes_a_duration(timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout must be"):
        Conveyor("memory:").work(timeout=timeout)
