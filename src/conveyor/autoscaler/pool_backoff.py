"""Which pools get no machines for now: after failed starts, or while nothing could start."""

from __future__ import annotations

from ..core.loop_backoff import doubled_pause
from ..maintenance.loop import SWEEP_EVERY
from .policy import Policy
from .snapshot import Snapshot
from .state import PoolBackoff, ScalerState

# The longest pause after failed starts, in seconds.
MAX_BACKOFF = 600.0


def next_backoff(backoff: PoolBackoff | None, why: str, now: float, every: float) -> PoolBackoff:
    """Return the backoff of a pool after one more failed start: the pause doubles."""
    failures = 1 if backoff is None else backoff.failures + 1
    pause = doubled_pause(every, MAX_BACKOFF, failures)
    return PoolBackoff(failures, now + pause, why)


def has_server(snapshot: Snapshot) -> bool:
    """Whether a server runs, which is a worker without slots: agents cannot work without one."""
    beat_at = max((each.beat_at for each in snapshot.workers if not each.slots), default=0.0)
    return snapshot.at - beat_at <= 4 * SWEEP_EVERY


def blocked_pools(state: ScalerState, snapshot: Snapshot, policy: Policy) -> dict[str, str]:
    """Return the pools that get no machine for now, with the reason."""
    served = has_server(snapshot)
    blocked: dict[str, str] = {}
    for pool in policy.pools:
        provider, backoff = pool.spec.provider, state.troubles.get(pool.name)
        if not served:
            blocked[pool.name] = "no server is running, so agents could not connect"
        elif provider in snapshot.unreachable:
            blocked[pool.name] = (
                f"provider {provider} is unreachable: {snapshot.unreachable[provider]}"
            )
        elif backoff is not None and backoff.until > snapshot.at:
            starts = "start" if backoff.failures == 1 else f"{backoff.failures} starts"
            blocked[pool.name] = (
                f"its last {starts} failed ({backoff.why}); "
                f"next attempt in {backoff.until - snapshot.at:.0f} s"
            )
    return blocked
