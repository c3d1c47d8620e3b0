"""Runs the scaler of a file until somebody tells it to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from ...autoscaler.config import Configuration, read_configuration
from ...autoscaler.elector import HOLD, Leadership
from ...autoscaler.reconcile import Times
from ...autoscaler.scaler import Looked, Scaler, survey
from ...autoscaler.state import NOTHING
from ...autoscaler.status import read_note
from ...core.clock import elapsed
from ...errors import UnavailableError, UsageError
from ...store.protocol import Store
from ...system.process_identity import worker_id

log = logging.getLogger("conveyor.autoscaler")

# How often to look, in seconds.
EVERY = 10.0
# How long it waits, in seconds, until it asks a server again that is not there yet.
PAUSE = 2.0
# How often agents beat at most, in seconds, unless their server says otherwise.
AGENT_BEAT = 15.0


def configuration(path: str) -> Configuration:
    """Read the file of a scaler."""
    try:
        return read_configuration(Path(path).read_text(encoding="utf-8"), where=path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the policy {path!r} cannot be read: {error}") from error


class Fleet:
    """A file, the store that it is about, and how often to look. `lease` is the agents', if the
    store is no server, which says so itself.
    """

    def __init__(
        self, configuration: Configuration, store: Store, *, every: float, lease: float
    ) -> None:
        self._configuration, self._store = configuration, store
        self._every, self._lease = every, lease
        # All that the file says is judged before anything is begun.
        launch = configuration.launch(store.url if store.is_server else "")
        self._providers = configuration.open_providers(launch)

    async def run(self) -> None:
        """Look and act until cancelled. Machines stay; the leadership is given up."""
        async with self._closing():
            times = await self._patiently()
            leadership = Leadership(
                self._store,
                self._configuration.name,
                worker_id(),
                elapsed=elapsed,
                hold=max(HOLD, 3 * self._every),
            )
            scaler = Scaler(
                store=self._store,
                providers=self._providers,
                policy=self._configuration.policy,
                leadership=leadership,
                times=times,
            )
            await scaler.run()

    async def look(self) -> Looked:
        """Look once, with what the last scaler remembers; nothing is done."""
        async with self._closing():
            leader = await self._store.leader(self._configuration.name)
            note = read_note(leader.note) if leader else None
            memory = note.memory if note else NOTHING
            policy, times = self._configuration.policy, await self._times()
            return await survey(self._store, self._providers, policy, times, memory)

    @asynccontextmanager
    async def _closing(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            for provider in self._providers.values():
                await provider.close()

    async def _patiently(self) -> Times:
        """Ask until there is an answer; AccessError when that is "no"."""
        while True:
            try:
                return await self._times()
            except UnavailableError as error:
                log.warning("scale.unavailable error=%s", error)
                await asyncio.sleep(PAUSE)

    async def _times(self) -> Times:
        # A token that may not lead is told now, and not at each look.
        await self._store.leader(self._configuration.name)
        if not self._store.is_server:
            beat = min(AGENT_BEAT, self._lease / 4)
            return Times(every=self._every, lease=self._lease, beat=beat)
        from ...store.http.store import HttpStore  # noqa: PLC0415 - its driver is optional

        assert isinstance(self._store, HttpStore), "no other store is a server"
        terms = await self._store.terms()
        return Times(every=self._every, lease=terms.lease_for, beat=terms.beat)
