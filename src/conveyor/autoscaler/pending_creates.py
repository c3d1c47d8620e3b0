"""Machines that were requested or created and are not listed by their provider yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from .machine_state import Agent, Booting
from .policy import Pool
from .provider import Machine
from .snapshot import Snapshot
from .state import ScalerState, UnansweredCreate

# How long a provider's list may lack a machine that was created, in seconds.
MAX_LISTING_DELAY = 60.0


def unlisted_machines(state: ScalerState, snapshot: Snapshot) -> list[Machine]:
    """Return created machines that their provider does not list yet."""
    listed = {machine.id for machines in snapshot.machines.values() for machine in machines}
    return [
        machine
        for machine in state.made
        if machine.id not in listed and snapshot.at - machine.created_at < MAX_LISTING_DELAY
    ]


def still_unanswered(state: ScalerState, snapshot: Snapshot) -> tuple[UnansweredCreate, ...]:
    """Return requests that may yet create machines, less the machines that have appeared."""
    known = state.machines.keys() | {machine.id for machine in state.made}
    appeared = Counter(
        machine.pool
        for machines in snapshot.machines.values()
        for machine in machines
        if machine.id not in known
    )
    left: list[UnansweredCreate] = []
    for each in state.unanswered:
        found = min(each.count, appeared[each.pool])
        appeared[each.pool] -= found
        if found < each.count and snapshot.at - each.at < MAX_LISTING_DELAY:
            left.append(msgspec.structs.replace(each, count=each.count - found))
    return tuple(left)


def expected_agents(
    unanswered: Sequence[UnansweredCreate], pools: Mapping[str, Pool], now: float
) -> list[Agent]:
    """Return agents that may yet register, so that no others are started in their place."""
    return [
        Agent(
            machine="",
            pool=each.pool,
            created_at=now,
            state=Booting(),
            slots=pool.slots,
            labels=frozenset(pool.spec.offers),
            queues=pool.spec.queues,
        )
        for each in unanswered
        if (pool := pools.get(each.pool)) is not None
        for _ in range(each.count)
    ]
