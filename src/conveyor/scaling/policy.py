"""When there are to be machines, and how many: a policy, and how one is read from tables."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..duration import duration
from ..errors import UsageError
from .machine import PoolSpec

HOUR = 3600.0


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine and its limits. Counts are machines, durations seconds.

    `min_idle` counts free slots, kept beyond what waits. A machine goes once it has been idle
    for `idle_for` and is `min_age` old; where a machine is paid for by `billing_increment`, only in
    the last `billing_window` of an increment that is paid anyway. A machine whose agent does not
    register within `boot_deadline` is given up. `step_up` and `step_down` bound one decision.
    """

    spec: PoolSpec
    min: int = 0
    max: int
    min_idle: int = 0
    idle_for: float = 600.0
    min_age: float = 0.0
    boot_deadline: float = 300.0
    step_up: int | None = None
    step_down: int | None = None
    billing_increment: float = 0.0
    billing_window: float = 300.0
    cost_per_hour: float = 0.0

    @property
    def name(self) -> str:
        """What the kind is called."""
        return self.spec.name

    @property
    def slots(self) -> int:
        """How many jobs run at a time on one machine."""
        return self.spec.slots


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Every kind of machine there may be. `cost_cap` bounds what all may cost in an hour."""

    pools: tuple[Pool, ...]
    cost_cap: float | None = None


def policy_from(table: Mapping[str, Any], where: str) -> Policy:
    """Return the policy within the tables of a file; UsageError says what is wrong with it."""
    pools = table.get("pools")
    if not isinstance(pools, dict) or not pools:
        raise UsageError(f"{where} names no kind of machine: begin with a table [pools.NAME]")
    named = cast("dict[str, Any]", pools)
    policy = Policy(
        pools=tuple(_pool(name, given, f"{where}, pool {name!r}") for name, given in named.items()),
        cost_cap=_value(table, "cost_cap", _amount, where),
    )
    _check_cost(policy, where)
    return policy


def _pool(name: str, given: Any, where: str) -> Pool:
    if not isinstance(given, dict):
        raise UsageError(f"{where}: a table [pools.{name}] is wanted")
    table = cast("dict[str, Any]", given)
    refuse_unknown(table, (*SPEC, *LIMITS), where)
    spec = {key: _value(table, key, read, where) for key, read in SPEC.items() if key in table}
    limits = {key: _value(table, key, read, where) for key, read in LIMITS.items() if key in table}
    if "max" not in limits:
        raise UsageError(f"{where}: say by `max` how many machines there may be at most")
    pool = Pool(spec=PoolSpec(name=name, **spec), **limits)
    _check_pool(pool, where)
    return pool


def _check_pool(pool: Pool, where: str) -> None:
    if pool.min > pool.max:
        raise UsageError(f"{where}: min is {pool.min} and max {pool.max}: the former is the larger")
    if pool.spec.one_shot and pool.slots != 1:
        raise UsageError(f"{where}: a one_shot machine runs one job, so `slots` has to be 1")
    if pool.min_idle > pool.max * pool.slots:
        raise UsageError(
            f"{where}: min_idle = {pool.min_idle} free slots can never be kept: "
            f"{pool.max} machines have {pool.max * pool.slots} slots"
        )
    if 0 < pool.billing_increment < pool.billing_window:
        raise UsageError(
            f"{where}: billing_window is longer than billing_increment: give it in seconds before "
            "the end of an increment"
        )


def _check_cost(policy: Policy, where: str) -> None:
    if policy.cost_cap is None:
        return
    free = [pool.name for pool in policy.pools if not pool.cost_per_hour]
    if free:
        raise UsageError(
            f"{where}: cost_cap holds only if every cost is known: "
            f"give cost_per_hour for pool {free[0]!r}"
        )
    least = sum(pool.min * pool.cost_per_hour for pool in policy.pools)
    if least > policy.cost_cap:
        raise UsageError(
            f"{where}: the minimum of machines costs {least:g} an hour, "
            f"more than cost_cap = {policy.cost_cap:g}"
        )


def refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise UsageError for a key that there is not, with the one that may have been meant."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"{where}: there is no key {key!r}; {hint}")


def _value(table: Mapping[str, Any], key: str, read: Callable[[Any], Any], where: str) -> Any:
    if key not in table:
        return None
    try:
        return read(table[key])
    except UsageError as error:
        raise UsageError(f"{where}: {key} = {table[key]!r}: {error}") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError("a whole number of 0 or more is wanted")
    return value


def _positive(value: Any) -> int:
    if _whole(value) == 0:
        raise UsageError("a whole number of 1 or more is wanted")
    return int(value)


def _seconds(value: Any) -> float:
    seconds = duration(value)
    if seconds < 0:
        raise UsageError("a duration of 0 seconds or more is wanted")
    return seconds


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError("a sum of money of 0 or more is wanted, as a number")
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    items = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise UsageError('a list of texts is wanted, like ["gpu", "linux"]')
    return tuple(dict.fromkeys(map(str, items)))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError("true or false is wanted")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("a text is wanted")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError("a table is wanted")
    return cast("dict[str, Any]", value)


SPEC: dict[str, Callable[[Any], Any]] = {
    "labels": _texts,
    "slots": _positive,
    "queues": _texts,
    "app": _text,
    "commands": _flag,
    "one_shot": _flag,
    "provider": _text,
    "options": _table,
}
LIMITS: dict[str, Callable[[Any], Any]] = {
    "min": _whole,
    "max": _positive,
    "min_idle": _whole,
    "idle_for": _seconds,
    "min_age": _seconds,
    "boot_deadline": _seconds,
    "step_up": _positive,
    "step_down": _positive,
    "billing_increment": _seconds,
    "billing_window": _seconds,
    "cost_per_hour": _amount,
}
