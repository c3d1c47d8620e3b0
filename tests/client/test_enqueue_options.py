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
        ({"priority": "high"}, "must be an integer"),
        ({"retries": -1}, "an integer from 0 to"),
        ({"retries": True}, "an integer from 0 to"),
        ({"timeout": 0}, "more than 0"),
        ({"requires": "gpu"}, r"write \['gpu'\]"),
        ({"key": ""}, "1 to 200"),
        ({"when_full": "explode"}, "refuse"),
        ({"on_shutdown": "kill"}, "release"),
        ({"backoff": "slowly"}, "backoff must be seconds, .* got 'slowly'"),
        ({"meta": {"x": "y" * 20_000}}, "limit"),
        ({"retrys": 1}, "choose from: "),
        ({"backoff": float("inf")}, "backoff must be finite, got inf"),
        ({"backoff": [1, float("nan")]}, "backoff needs finite pauses"),
        ({"backoff": Exponential(longest=float("inf"))}, "backoff needs finite pauses"),
        ({"backoff": Fixed(10**400)}, "backoff needs finite pauses"),
        ({"backoff": Exponential(jitter=True)}, "backoff needs finite pauses"),
        ({"backoff": Fixed("5m")}, "backoff needs finite pauses"),
        ({"backoff": [1] * 1001}, "a list has 1 to 1,000"),
        ({"delay": "5000000d"}, r"delay: a duration must be at most 100 years .*'5000000d'"),
        ({"delay": 10**400}, "delay: a duration must be finite, got 1000"),
        ({"timeout": float("inf")}, "timeout: a duration must be finite"),
        ({"run_at": float("nan")}, "run_at: a time must be finite, got nan"),
        ({"run_at": float("inf")}, "run_at: a time must be finite, got inf"),
        ({"run_at": 1_700_000_000_000}, "run_at: a time must be between 1970-01-01 and 9999-12-30"),
        ({"run_at": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}, "between 1970-01-01 .*datetime"),
        ({"run_at": dt.datetime.max.replace(tzinfo=dt.UTC)}, "between 1970-01-01 .*datetime"),
        ({"expires_at": float("nan")}, "expires_at: a time must be finite, got nan"),
        ({"meta": {"a": float("nan")}}, r"meta\['a'\] cannot be stored as JSON without a change"),
        ({"meta": {"a": {1: 2}}}, r"meta\['a'\] .*: \{1: 2\} would become \{'1': 2\}"),
        ({"meta": {"when": dt.date(2026, 1, 1)}}, r"meta\['when'\] cannot be stored"),
        ({"meta": {"a": "\ud800"}}, "meta must be plain JSON"),
        ({"meta": {"a": object()}}, "meta must be plain JSON"),
        ({"key": "\ud800"}, "a name must be"),
        ({"queue": "a\0b"}, "a name must be"),
    ],
)
def test_a_wrong_option_is_refused_with_the_way_out(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merge_options(EnqueueOptions(), given)


def test_meta_is_copied_so_that_a_later_change_does_not_reach_the_job() -> None:
    meta = {"tags": ["a"]}
    chosen = merge_options(EnqueueOptions(), {"meta": meta})
    meta["tags"].append("b")
    assert chosen.options.meta == {"tags": ["a"]}


def test_every_option_has_a_rule() -> None:
    assert set(JobOptions.__annotations__) <= set(RULES)
