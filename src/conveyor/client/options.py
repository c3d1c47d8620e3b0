"""The options of tasks and `using(...)`: validated once and turned into plain data."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypedDict

import msgspec

from ..core.bounds import check_size, checked_integer, checked_meta, checked_moment
from ..core.duration import parse_duration
from ..core.files import artifact_patterns, file_names
from ..core.job import (
    NO_OPTIONS,
    Callback,
    CallbackOn,
    KeyUntil,
    OnConflict,
    OnShutdown,
    Options,
    WhenFull,
)
from ..core.key_template import KeyTemplate, parse_key
from ..core.names import validate_name
from ..core.retry import Backoff, parse_backoff
from ..core.retry_on import parse_retry_on
from ..errors import UsageError
from ..store.caller_connection import checked_connection
from .callback_task import CallbackTask, callback

Duration = float | int | str | dt.timedelta
Moment = float | int | dt.datetime
Backoffs = Backoff | float | int | list[float] | tuple[float, ...]

LARGEST = 2**31 - 1  # of a count or a priority
CALLBACKS = ("on_discarded", "on_finished")


class TaskOptions(TypedDict, total=False):
    """Options that a task sets for all its jobs; `using` may override them."""

    priority: int
    retries: int
    backoff: Backoffs
    retry_on: Iterable[type[BaseException] | str]
    timeout: Duration | None
    grace: Duration
    on_shutdown: OnShutdown
    meta: Mapping[str, Any]
    requires: Iterable[str]
    key: str | None
    key_until: KeyUntil
    on_conflict: OnConflict
    postpone_limit: Duration | None
    crash_limit: int
    output_limit: int
    artifacts: Iterable[str]
    artifact_limit: int
    on_discarded: CallbackTask | None
    on_finished: CallbackTask | None


class JobOptions(TaskOptions, total=False):
    """Options of one enqueue: those of a task, and queue, time, files and waiting for room."""

    queue: str
    files: Mapping[str, str | os.PathLike[str]]
    delay: Duration
    run_at: Moment
    expires_at: Moment
    wait: Duration | None
    when_full: WhenFull
    connection: object


class EnqueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Validated options of one enqueue. Times are Unix seconds, durations seconds.

    `files` are paths by name, read when the job is enqueued. `connection` is one of the
    application's, whose transaction the job is a part of. `callbacks` are what is enqueued when it
    has ended. `key` is a unique key that is made of the arguments; one that is the same for all
    calls is one of the options.
    """

    options: Options = NO_OPTIONS
    files: dict[str, str] = {}
    priority: int = 0
    queue: str | None = None
    delay: float = 0.0
    run_at: float | None = None
    wait: float | None = None
    when_full: WhenFull | None = None
    connection: Any = None
    callbacks: tuple[Callback, ...] = ()
    key: KeyTemplate | None = None


def merge_options(before: EnqueueOptions, given: JobOptions) -> EnqueueOptions:
    """Return `before` with the given options replaced; UsageError for an unknown or wrong one."""
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in given.items():
        rule = RULES.get(name)
        if rule is None:
            raise UsageError(f"unknown option {name!r}; choose from: {', '.join(sorted(RULES))}")
        read, in_options = rule
        if name == "key":
            read = _key_or_template
        try:
            (options if in_options else fields)[name] = read(value)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"{name}={value!r}: {error}") from error
    if "key" in options:
        _set_key(options, fields)
    if "delay" in fields and "run_at" in fields:
        raise UsageError("use delay or run_at, not both")
    if fields.get("wait") is not None and "when_full" not in fields:
        fields["when_full"] = "wait"
    called: dict[str, Callback | None] = {f"on_{each.on}": each for each in before.callbacks}
    for name in CALLBACKS:
        if name in fields:
            called[name] = fields.pop(name)
            fields["callbacks"] = tuple(filter(None, called.values()))
    if options:
        fields["options"] = msgspec.structs.replace(before.options, **options)
    return msgspec.structs.replace(before, **fields)


def check_schedulable(chosen: EnqueueOptions) -> EnqueueOptions:
    """Return the options if a schedule can use them; UsageError otherwise."""
    if chosen.connection is not None:
        raise UsageError("a scheduled task cannot have a connection: workers enqueue its jobs")
    if chosen.files:
        raise UsageError("a scheduled task cannot have files: they are read when a job is enqueued")
    return chosen


def _optional_duration(value: Any) -> float | None:
    return None if value is None else parse_duration(value)


def _timeout(value: Any) -> float | None:
    return None if value is None else parse_duration(value, positive=True)


def _moment(value: Any) -> float:
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise UsageError(
                f"{value!r} has no time zone: use an aware datetime, "
                "like datetime.now(timezone.utc)"
            )
        return checked_moment(_timestamp(value), given=value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(
            f"a time must be a datetime with a time zone or Unix seconds, got {value!r}"
        )
    return checked_moment(value)


def _timestamp(value: dt.datetime) -> float:
    try:
        return value.timestamp()
    except OverflowError:  # the first or last hours that datetime has, in another time zone
        return float("inf")


def _count(value: Any) -> int:
    return checked_integer(value, most=LARGEST)


def _priority(value: Any) -> int:
    return checked_integer(value, least=-LARGEST - 1, most=LARGEST)  # higher runs first


def _key(value: Any) -> str | None:
    return None if value is None else validate_name(value)


def _key_or_template(value: Any) -> str | KeyTemplate | None:
    found = parse_key(value) if isinstance(value, str) else value
    return found if isinstance(found, KeyTemplate) else _key(found)


def _set_key(options: dict[str, Any], fields: dict[str, Any]) -> None:
    """Note a given key where it belongs. Without a key there is no conflict, either."""
    key = options["key"]
    fields["key"] = key if isinstance(key, KeyTemplate) else None
    if isinstance(key, KeyTemplate):
        options["key"] = None
    elif key is None:
        options.setdefault("on_conflict", "keep")
        options.setdefault("postpone_limit", None)


def _one_of(*known: str) -> Any:
    def read(value: Any) -> str:
        if value not in known:
            raise UsageError(f"must be one of {', '.join(known)}, got {value!r}")
        return str(value)

    return read


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"must be a list of names, got a string: write [{value!r}]")
    names = tuple(value)
    check_size("requires", names)
    return tuple(sorted({validate_name(each) for each in names}))


def _files(value: Any) -> dict[str, str]:
    paths = {name: os.path.abspath(os.fsdecode(path)) for name, path in dict(value).items()}
    file_names(list(paths))
    return paths


def _patterns(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"must be a list of patterns, got a string: write [{value!r}]")
    return artifact_patterns(value)


def _size(value: Any) -> int:
    return checked_integer(value, most=(1 << 53) - 1)


def _connection(value: Any) -> Any:
    return None if value is None else checked_connection(value)


def _callback(on: CallbackOn, value: Any) -> Callback | None:
    return None if value is None else callback(on, value)


# name -> (its validation, whether it is stored in the job's options)
RULES: dict[str, tuple[Any, bool]] = {
    "priority": (_priority, False),
    "queue": (validate_name, False),
    "delay": (parse_duration, False),
    "run_at": (_moment, False),
    "wait": (_optional_duration, False),
    "when_full": (_one_of("wait", "refuse", "drop_oldest"), False),
    "connection": (_connection, False),
    "on_discarded": (partial(_callback, "discarded"), False),
    "on_finished": (partial(_callback, "finished"), False),
    "retries": (_count, True),
    "backoff": (parse_backoff, True),
    "retry_on": (parse_retry_on, True),
    "timeout": (_timeout, True),
    "grace": (parse_duration, True),
    "on_shutdown": (_one_of("release", "cancel"), True),
    "meta": (checked_meta, True),
    "requires": (_names, True),
    "crash_limit": (_count, True),
    "output_limit": (_count, True),
    "files": (_files, False),
    "artifacts": (_patterns, True),
    "artifact_limit": (_size, True),
    "expires_at": (_moment, True),
    "key": (_key, True),
    "key_until": (_one_of("final", "pruned"), True),
    "on_conflict": (_one_of("keep", "replace", "postpone", "join"), True),
    "postpone_limit": (_optional_duration, True),
}
