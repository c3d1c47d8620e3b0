"""How an agent is started on a machine, whichever provider makes that."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import UsageError
from .provider import PoolSpec

# It says to the processes on a machine which one they are on.
MACHINE = "CONVEYOR_MACHINE"
# A worker with the label "machine=ID" is the agent on that machine.
LABEL = "machine"

# What containers, Jobs and labels may all be called, cut so that what is made of it still may.
POOL = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")

T = TypeVar("T")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What every agent of a provider is told.

    `server` is the address of the server as the machines see it, `token_file` the file with the
    agents' token, `ca_file` whom to trust about the server; `args` is added to the command line.
    """

    server: str
    token_file: str = ""
    ca_file: str = ""
    args: tuple[str, ...] = ()


def new_machine_id(pool: PoolSpec) -> str:
    """Return a name for a new machine; UsageError when the pool's cannot be part of one."""
    if not POOL.fullmatch(pool.name):
        raise UsageError(
            f"the pool {pool.name!r} cannot give its machines a name: call it by at most 30 small "
            "letters, digits and dashes, with no dash at either end"
        )
    return f"conveyor-{pool.name}-{secrets.token_hex(5)}"


def pool_of(machine: str) -> str:
    """Return the name of the pool that a machine's id was made for."""
    return machine.removeprefix("conveyor-").rpartition("-")[0]


def machine_of(labels: Iterable[str]) -> str:
    """Return the machine that a worker with these labels is the agent on; "" if on none."""
    found = (label.partition("=")[2] for label in labels if label.startswith(f"{LABEL}="))
    return next(found, "")


def agent_args(
    launch: Launch, pool: PoolSpec, machine: str, more: tuple[str, ...] = ()
) -> list[str]:
    """Return what follows `conveyor` on the command line of the agent on a machine."""
    args = ["agent", "--server", launch.server, "--concurrency", str(pool.slots)]
    if pool.app:
        args += ["--app", pool.app]
    args += ["--allow-commands"] * pool.commands + ["--one-shot"] * pool.one_shot
    if launch.token_file:
        args += ["--token-file", launch.token_file]
    for label in (f"{LABEL}={machine}", *pool.labels):
        args += ["--label", label]
    for queue in pool.queues:
        args += ["--queue", queue]
    return [*args, *launch.args, *more]


def agent_environment(launch: Launch, machine: str) -> dict[str, str]:
    """Return what the environment of an agent says."""
    trust = {"CONVEYOR_CA_FILE": launch.ca_file} if launch.ca_file else {}
    return {MACHINE: machine, **trust}


def read_options(kind: type[T], given: Mapping[str, Any], where: str) -> T:
    """Return a table of the configuration as what it has to be; UsageError says what it is not."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error
