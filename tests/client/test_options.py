"""Options of enqueueing, and how wrong ones are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from conveyor.client.options import RULES, EnqueueOptions, JobOptions, merge_options
from conveyor.core.retry import Exponential, Fixed, Steps
from conveyor.errors import UsageError


class Odd(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    ("given", "where", "value"),
    [
        ({"delay": "5m"}, "delay", 300.0),
        ({"delay": dt.timedelta(seconds=2)}, "delay", 2.0),
        ({"run_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "run_at", 1767225600.0),
        ({"priority": -3}, "priority", -3),
        ({"wait": 2}, "wait", 2.0),
        ({"wait": 2}, "when_full", "wait"),
        ({"retries": 4}, "options.retries", 4),
        ({"backoff": 5}, "options.backoff", Fixed(5.0)),
        ({"backoff": [1, 2]}, "options.backoff", Steps((1.0, 2.0))),
        ({"backoff": Exponential(2)}, "options.backoff", Exponential(2)),
        ({"retry_on": [OSError, Odd]}, "options.retry_on", ("OSError", f"{__name__}.Odd")),
        ({"timeout": "1m30s"}, "options.timeout", 90.0),
        ({"requires": ["gpu", "a", "gpu"]}, "options.requires", ("a", "gpu")),
        ({"meta": {"a": [1]}}, "options.meta", {"a": [1]}),
        ({"key": "cat", "key_until": "pruned"}, "options.key_until", "pruned"),
    ],
)
def test_options_are_validated_once_and_become_plain_data(
    given: JobOptions, where: str, value: object
) -> None:
    got: Any = merge_options(EnqueueOptions(), given)
    for part in where.split("."):
        got = getattr(got, part)
    assert got == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"delay": -1}, "delay|duration"),
        ({"delay": "soon"}, "soon"),
        ({"delay": 1, "run_at": 5}, "use delay or run_at, not both"),
        ({"run_at": dt.datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"priority": "high"}, "must be a whole number"),
        ({"retries": -1}, "0 or more"),
        ({"retries": True}, "0 or more"),
        ({"timeout": 0}, "more than 0"),
        ({"requires": "gpu"}, r"write \['gpu'\]"),
        ({"key": ""}, "1 to 200"),
        ({"when_full": "explode"}, "refuse"),
        ({"on_shutdown": "kill"}, "release"),
        ({"backoff": "slowly"}, "backoff must be seconds, .* got 'slowly'"),
        ({"meta": {"x": "y" * 20_000}}, "limit"),
        ({"retrys": 1}, "choose from: "),
    ],
)
def test_a_wrong_option_is_refused_with_the_way_out(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merge_options(EnqueueOptions(), given)


def test_every_option_has_a_rule() -> None:
    assert set(JobOptions.__annotations__) <= set(RULES)
