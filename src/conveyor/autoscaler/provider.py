"""The seam between the scaler and what makes machines: a machine, its kind, and a provider."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..core.command_policy import NOTHING_ELSE
from ..core.job import COMMANDS

# A machine in any state but "gone" may be billed, one in "errored" included.
MachineState = Literal["starting", "running", "stopping", "gone", "errored"]


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has to know of a kind of machine, and nothing of when there is to be one.

    `slots`, `labels` and `queues` are what the machine's one agent is to have; no queues: all that
    its application has. `app` is that application, and `commands` says whether it runs commands.
    With `one_shot` an agent runs one job and ends. `options` are for the provider named, which
    judges them: an image, a command.
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
        """The labels that its agent has in the end: one is given for commands."""
        if not self.commands:
            return self.labels
        return (*self.labels, COMMANDS if self.app else NOTHING_ELSE)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as its provider knows it. `pool` is the name of its kind.

    `created_at` is Unix seconds; `agent` the id of the worker on it, once that is known.
    """

    id: str
    pool: str
    created_at: float
    state: MachineState
    agent: str = ""
    detail: str = ""


class Provider(Protocol):
    """What makes machines and takes them away: processes, a cloud, Docker, Kubernetes.

    UnavailableError: it cannot be reached, so nothing is known. A machine that was asked for and
    did not come up is listed as errored for as long as it may be billed.
    """

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Begin to make `count` machines; returns those that it did begin to make."""
        ...

    async def destroy(self, ids: Collection[str]) -> None:
        """Take machines away. One that is gone or unknown is no error."""
        ...

    async def list(self) -> Sequence[Machine]:
        """Return every machine of this scaler's that there is, also after a restart of it."""
        ...

    async def close(self) -> None:
        """Let go of connections. Machines stay."""
        ...
