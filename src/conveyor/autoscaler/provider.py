"""The interface between the scaler and what creates machines: a provider."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..core.command_policy import COMMANDS_ONLY
from ..core.job import COMMANDS

# A machine in any state but "gone" may be billed, "errored" included.
ProvisioningState = Literal["starting", "running", "stopping", "gone", "errored"]


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine, as far as its provider is concerned.

    `slots`, `labels` and `queues` are those of the one agent on it; no queues: all that its
    application has. `app` is that application, `commands` says whether it runs commands, and with
    `one_shot` it exits after one job. `options` are for the named provider, which validates them.
    """

    name: str
    labels: tuple[str, ...] = ()
    slots: int = 1
    queues: tuple[str, ...] = ()
    app: str = ""
    commands: bool = False
    one_shot: bool = False
    provider: str = "process"
    options: dict[str, Any] = {}

    @property
    def offers(self) -> tuple[str, ...]:
        """The labels that its agent offers, including the one for commands."""
        if not self.commands:
            return self.labels
        return (*self.labels, COMMANDS if self.app else COMMANDS_ONLY)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as its provider knows it.

    `created_at` is Unix seconds, `agent` the id of the worker on it if the provider knows it.
    """

    id: str
    pool: str
    created_at: float
    state: ProvisioningState
    agent: str = ""
    detail: str = ""


class Provider(Protocol):
    """Creates and destroys machines: processes, containers, Jobs of Kubernetes, a cloud's servers.

    UnavailableError: it cannot be reached, so nothing is known. A machine that failed to come up is
    listed as errored for as long as it may be billed.
    """

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Begin to create `count` machines; return those whose creation has begun."""
        ...

    async def destroy(self, ids: Collection[str]) -> None:
        """Destroy machines. Unknown ids are ignored."""
        ...

    async def list(self) -> Sequence[Machine]:
        """Return all machines of this scaler, including those created before a restart."""
        ...

    async def close(self) -> None:
        """Close connections. Machines stay."""
        ...
