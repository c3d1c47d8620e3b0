"""Runs the scaler of a configuration file against a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ...autoscaler.config import ScalerConfig, parse_config
from ...autoscaler.elector import LEADER_TTL, Elector
from ...autoscaler.intervals import Intervals
from ...autoscaler.scaler import Cycle, Scaler, plan_cycle
from ...autoscaler.state import EMPTY_STATE
from ...autoscaler.status import ScalerEvent, decode_note
from ...core.clock import elapsed
from ...core.event_log import open_event_log
from ...errors import UnavailableError, UsageError
from ...store.protocol import Store
from ...system.process_identity import worker_id

log = open_event_log("autoscaler")

# The default interval between two cycles, in seconds.
DEFAULT_EVERY = 10.0
# The pause before retrying a server that is unavailable at the start, in seconds.
RETRY_PAUSE = 2.0
# The longest interval of agents' heartbeats, in seconds, where no server names one.
MAX_AGENT_BEAT = 15.0


def load_config(path: str) -> ScalerConfig:
    """Read a configuration file."""
    try:
        return parse_config(Path(path).read_text(encoding="utf-8"), where=path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the policy {path!r}: {error}") from error


class ScalerRunner:
    """A configuration and its store. `every` is the interval between two cycles.

    `lease` is that of the agents; it is used only if the store is no server, which names its own.
    `on_event` is called with each action.
    """

    def __init__(
        self,
        config: ScalerConfig,
        store: Store,
        *,
        every: float,
        lease: float,
        on_event: Callable[[ScalerEvent], object] = id,
    ) -> None:
        self._config, self._store, self._on_event = config, store, on_event
        self._every, self._lease = every, lease
        # The whole configuration is validated before anything is started.
        launch = config.agent_launch(store.url if store.is_server else "")
        self._providers = config.open_providers(launch)

    async def run(self) -> None:
        """Run cycles until cancelled, then give up the leadership. Machines stay."""
        async with self._closing_providers():
            intervals = await self._wait_for_intervals()
            elector = Elector(
                self._store,
                self._config.name,
                worker_id(),
                elapsed=elapsed,
                ttl=max(LEADER_TTL, 3 * self._every),
            )
            scaler = Scaler(
                store=self._store,
                providers=self._providers,
                policy=self._config.policy,
                elector=elector,
                intervals=intervals,
                on_event=self._on_event,
            )
            await scaler.run()

    async def plan_once(self) -> Cycle:
        """Make a plan with the stored state of the last scaler, without acting."""
        async with self._closing_providers():
            leader = await self._store.leader(self._config.name)
            note = decode_note(leader.note) if leader else None
            state = note.memory if note else EMPTY_STATE
            policy, intervals = self._config.policy, await self._intervals()
            return await plan_cycle(self._store, self._providers, policy, intervals, state)

    @asynccontextmanager
    async def _closing_providers(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            for provider in self._providers.values():
                await provider.close()

    async def _wait_for_intervals(self) -> Intervals:
        """Retry until the store is available; AccessError if the token may not lead."""
        while True:
            try:
                return await self._intervals()
            except UnavailableError as error:
                log.warning("scale.unavailable error=%s", error)
                await asyncio.sleep(RETRY_PAUSE)

    async def _intervals(self) -> Intervals:
        # Fails at once, and not in each cycle, if the token may not lead.
        await self._store.leader(self._config.name)
        if not self._store.is_server:
            beat = min(MAX_AGENT_BEAT, self._lease / 4)
            return Intervals(every=self._every, lease=self._lease, beat=beat)
        from ...store.http.store import HttpStore  # noqa: PLC0415 - aiohttp is optional

        assert isinstance(self._store, HttpStore), "no other store is a server"
        terms = await self._store.terms()
        return Intervals(every=self._every, lease=terms.lease_for, beat=terms.beat)
