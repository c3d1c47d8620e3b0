"""A policy: the pools of machines, their limits, and how both are parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..errors import UsageError
from . import config_values
from .provider import PoolSpec

HOUR = 3600.0
# key -> how its value is converted
Keys = Mapping[str, Callable[[Any], Any]]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine and its limits. Counts are machines, durations seconds.

    `min_idle` counts free slots beyond the waiting jobs. A machine may go once it has been idle for
    `idle_for` and is `min_age` old; if it is billed by `billing_increment`, only in the last
    `billing_window` of an increment, which is paid anyway. A machine whose agent does not register
    within `boot_deadline` is replaced. `step_up` and `step_down` limit one plan.
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
        """The pool's name."""
        return self.spec.name

    @property
    def slots(self) -> int:
        """The number of jobs that one machine runs at a time."""
        return self.spec.slots


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All pools. `cost_cap` limits the cost of all machines together, per hour."""

    pools: tuple[Pool, ...]
    cost_cap: float | None = None


def parse_policy(table: Mapping[str, Any], where: str) -> Policy:
    """Parse the policy in a configuration; UsageError says what is wrong with it."""
    pools = table.get("pools")
    if not isinstance(pools, dict) or not pools:
        raise UsageError(f"{where} has no pools; add a table [pools.NAME]")
    named = cast("dict[str, Any]", pools)
    policy = Policy(
        pools=tuple(_pool(name, given, f"{where}, pool {name!r}") for name, given in named.items()),
        cost_cap=config_values.read_value(table, "cost_cap", config_values.money, where),
    )
    _check_cost(policy, where)
    return policy


def _pool(name: str, given: Any, where: str) -> Pool:
    if not isinstance(given, dict):
        raise UsageError(f"{where}: must be a table [pools.{name}]")
    table = cast("dict[str, Any]", given)
    config_values.reject_unknown_keys(table, (*SPEC_KEYS, *LIMIT_KEYS), where)
    spec = _read_keys(table, SPEC_KEYS, where)
    limits = _read_keys(table, LIMIT_KEYS, where)
    if "max" not in limits:
        raise UsageError(f"{where}: `max`, the maximum number of machines, is missing")
    pool = Pool(spec=PoolSpec(name=name, **spec), **limits)
    _check_pool(pool, where)
    return pool


def _read_keys(table: Mapping[str, Any], keys: Keys, where: str) -> dict[str, Any]:
    return {
        key: config_values.read_value(table, key, convert, where)
        for key, convert in keys.items()
        if key in table
    }


def _check_pool(pool: Pool, where: str) -> None:
    if pool.min > pool.max:
        raise UsageError(f"{where}: min = {pool.min} is greater than max = {pool.max}")
    if pool.spec.one_shot and pool.slots != 1:
        raise UsageError(
            f"{where}: slots = {pool.slots}: must be 1, because a one_shot agent runs one job"
        )
    if pool.min_idle > pool.max * pool.slots:
        raise UsageError(
            f"{where}: min_idle = {pool.min_idle} can never be met: "
            f"{pool.max} machines have {pool.max * pool.slots} slots"
        )
    if 0 < pool.billing_increment < pool.billing_window:
        raise UsageError(
            f"{where}: billing_window = {pool.billing_window:g} is longer than billing_increment = "
            f"{pool.billing_increment:g}; it is the last part of an increment, in seconds"
        )


def _check_cost(policy: Policy, where: str) -> None:
    if policy.cost_cap is None:
        return
    free = [pool.name for pool in policy.pools if not pool.cost_per_hour]
    if free:
        raise UsageError(
            f"{where}: cost_cap needs cost_per_hour in every pool; add it to pool {free[0]!r}"
        )
    least = sum(pool.min * pool.cost_per_hour for pool in policy.pools)
    if least > policy.cost_cap:
        raise UsageError(
            f"{where}: the machines of `min` cost {least:g} an hour, "
            f"more than cost_cap = {policy.cost_cap:g}"
        )


SPEC_KEYS: Keys = {
    "labels": config_values.strings,
    "slots": config_values.positive_count,
    "queues": config_values.strings,
    "app": config_values.string,
    "commands": config_values.boolean,
    "one_shot": config_values.boolean,
    "provider": config_values.string,
    "options": config_values.table,
}
LIMIT_KEYS: Keys = {
    "min": config_values.count,
    "max": config_values.positive_count,
    "min_idle": config_values.count,
    "idle_for": config_values.seconds,
    "min_age": config_values.seconds,
    "boot_deadline": config_values.seconds,
    "step_up": config_values.positive_count,
    "step_down": config_values.positive_count,
    "billing_increment": config_values.seconds,
    "billing_window": config_values.seconds,
    "cost_per_hour": config_values.money,
}
