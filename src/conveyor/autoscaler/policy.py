"""When there are to be machines, and how many: a policy, and how one is read from tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..errors import UsageError
from . import config_values
from .provider import PoolSpec

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
        cost_cap=config_values.value(table, "cost_cap", config_values.amount, where),
    )
    _check_cost(policy, where)
    return policy


def _pool(name: str, given: Any, where: str) -> Pool:
    if not isinstance(given, dict):
        raise UsageError(f"{where}: a table [pools.{name}] is wanted")
    table = cast("dict[str, Any]", given)
    config_values.refuse_unknown(table, (*SPEC, *LIMITS), where)
    spec = {
        key: config_values.value(table, key, read, where)
        for key, read in SPEC.items()
        if key in table
    }
    limits = {
        key: config_values.value(table, key, read, where)
        for key, read in LIMITS.items()
        if key in table
    }
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


SPEC: dict[str, Callable[[Any], Any]] = {
    "labels": config_values.texts,
    "slots": config_values.positive,
    "queues": config_values.texts,
    "app": config_values.text,
    "commands": config_values.flag,
    "one_shot": config_values.flag,
    "provider": config_values.text,
    "options": config_values.table,
}
LIMITS: dict[str, Callable[[Any], Any]] = {
    "min": config_values.whole,
    "max": config_values.positive,
    "min_idle": config_values.whole,
    "idle_for": config_values.seconds,
    "min_age": config_values.seconds,
    "boot_deadline": config_values.seconds,
    "step_up": config_values.positive,
    "step_down": config_values.positive,
    "billing_increment": config_values.seconds,
    "billing_window": config_values.seconds,
    "cost_per_hour": config_values.amount,
}
