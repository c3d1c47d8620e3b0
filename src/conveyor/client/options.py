"""What a producer may ask for with `using(...)`, checked once and turned into options."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import msgspec

from ..core.duration import parse_duration
from ..core.error_info import class_name
from ..core.files import file_name, file_names
from ..core.job import NO_OPTIONS, KeyUntil, OnShutdown, Options, WhenFull
from ..core.retry import Backoff, backoff
from ..errors import UsageError

Duration = float | int | str | dt.timedelta
Moment = float | int | dt.datetime
Backoffs = Backoff | float | int | list[float] | tuple[float, ...]

PRIORITIES = range(-(2**31), 2**31)
META_LIMIT = 16_384
NAME_LIMIT = 200


class TaskOptions(TypedDict, total=False):
    """Options that a task may set for all of its jobs, and `using` for some of them."""

    priority: int
    retries: int
    backoff: Backoffs
    retry_on: Iterable[type[BaseException] | str]
    timeout: Duration | None
    grace: Duration
    on_shutdown: OnShutdown
    meta: Mapping[str, Any]
    requires: Iterable[str]
    crash_limit: int
    output_limit: int
    artifacts: Iterable[str]
    artifact_limit: int


class JobOptions(TaskOptions, total=False):
    """Options of a single enqueue: what a task may set, and when, under which key, how long."""

    queue: str
    files: Mapping[str, str | os.PathLike[str]]
    delay: Duration
    run_at: Moment
    expires_at: Moment
    key: str | None
    key_until: KeyUntil
    wait: Duration | None
    when_full: WhenFull


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """One producer's wishes, ready for use. Times are Unix seconds, durations seconds.

    `files` are paths by name: they are read when the job is enqueued.
    """

    options: Options = NO_OPTIONS
    files: dict[str, str] = {}
    priority: int = 0
    queue: str | None = None
    delay: float = 0.0
    run_at: float | None = None
    wait: float | None = None
    when_full: WhenFull | None = None


def wish(before: Wishes, given: JobOptions) -> Wishes:
    """Return the wishes with what was given laid over them, or raise UsageError."""
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in given.items():
        rule = RULES.get(name)
        if rule is None:
            raise UsageError(f"there is no option {name!r}; there are: {', '.join(sorted(RULES))}")
        read, in_options = rule
        try:
            (options if in_options else fields)[name] = read(value)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name}={value!r}: {error}") from error
    if "delay" in fields and "run_at" in fields:
        raise UsageError("delay and run_at exclude each other: give one of them")
    if fields.get("wait") is not None and "when_full" not in fields:
        fields["when_full"] = "wait"
    if options:
        fields["options"] = msgspec.structs.replace(before.options, **options)
    return msgspec.structs.replace(before, **fields)


def schedulable(wishes: Wishes) -> Wishes:
    """Return the wishes if a schedule can have them; UsageError otherwise."""
    if wishes.files:
        raise UsageError("files are read when a job is enqueued: a scheduled job cannot have any")
    return wishes


def _optional_duration(value: Any) -> float | None:
    return None if value is None else parse_duration(value)


def _timeout(value: Any) -> float | None:
    return None if value is None else parse_duration(value, positive=True)


def _moment(value: Any) -> float:
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise UsageError(
                f"{value!r} has no time zone, so nobody knows when that is: "
                "use datetime.now(timezone.utc) or another zone"
            )
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"a moment is a datetime with a time zone or Unix seconds, not {value!r}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise UsageError(f"expected a whole number of 0 or more, not {value!r}")
    return value


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in PRIORITIES:
        raise UsageError(f"a priority is a whole number (higher runs first), not {value!r}")
    return value


def name(value: Any) -> str:
    """Return a valid name of a queue, key or label; UsageError otherwise."""
    if not isinstance(value, str) or not value or len(value) > NAME_LIMIT or "\0" in value:
        raise UsageError(f"a name is a text of 1 to {NAME_LIMIT} characters, not {value!r}")
    return value


def _key(value: Any) -> str | None:
    return None if value is None else name(value)


def _one_of(*known: str) -> Any:
    def read(value: Any) -> str:
        if value not in known:
            raise UsageError(f"{value!r} is not one of {', '.join(known)}")
        return str(value)

    return read


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"expected a list of names, not the text {value!r}: write [{value!r}]")
    return tuple(sorted({name(each) for each in value}))


def _files(value: Any) -> dict[str, str]:
    paths = {name: os.path.abspath(os.fsdecode(path)) for name, path in dict(value).items()}
    file_names(list(paths))
    return paths


def _patterns(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"expected a list of patterns, not the text {value!r}: write [{value!r}]")
    patterns = tuple(dict.fromkeys(file_name(each) for each in value))
    for pattern in patterns:
        if any("**" in part and part != "**" for part in pattern.split("/")):
            raise UsageError(f"{pattern!r}: ** stands for any folders, between slashes: **/*.whl")
    return patterns


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise UsageError(f"expected a number of bytes, 0 or more, not {value!r}")
    return value


def _error_names(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str | type) else list(value)
    return tuple(each if isinstance(each, str) else class_name(each) for each in listed)


def _meta(value: Any) -> dict[str, Any]:
    meta = dict(value)
    size = len(msgspec.json.encode(meta))
    if size > META_LIMIT:
        raise UsageError(f"meta is {size:,} bytes of JSON, above the limit of {META_LIMIT:,}")
    return meta


# name -> (how to read it, whether it belongs into the job's options)
RULES: dict[str, tuple[Any, bool]] = {
    "priority": (_priority, False),
    "queue": (name, False),
    "delay": (parse_duration, False),
    "run_at": (_moment, False),
    "wait": (_optional_duration, False),
    "when_full": (_one_of("wait", "refuse", "drop_oldest"), False),
    "retries": (_count, True),
    "backoff": (backoff, True),
    "retry_on": (_error_names, True),
    "timeout": (_timeout, True),
    "grace": (parse_duration, True),
    "on_shutdown": (_one_of("release", "cancel"), True),
    "meta": (_meta, True),
    "requires": (_names, True),
    "crash_limit": (_count, True),
    "output_limit": (_count, True),
    "files": (_files, False),
    "artifacts": (_patterns, True),
    "artifact_limit": (_size, True),
    "expires_at": (_moment, True),
    "key": (_key, True),
    "key_until": (_one_of("final", "pruned"), True),
}
