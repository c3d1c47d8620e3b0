"""How an agent is started on a machine: its name, labels, command line and environment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ..core.names import weighted_queue
from ..errors import UsageError
from .provider import PoolSpec

# Environment variable that holds the id of the machine.
MACHINE_VARIABLE = "CONVEYOR_MACHINE"
# The agent on a machine has the label "machine=ID".
MACHINE_LABEL = "machine"

# Short enough that container names, Job names and label values made from it stay valid.
POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")

T = TypeVar("T")


class AgentLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """What every agent is started with.

    `server` is the server's address as machines see it, `token_file` the agents' token, `ca_file`
    the certificates to trust, `args` additional command-line arguments.
    """

    server: str
    token_file: str = ""
    ca_file: str = ""
    args: tuple[str, ...] = ()


def new_machine_id(pool: PoolSpec) -> str:
    """Return an id for a new machine; UsageError if the pool's name cannot be part of one."""
    if not POOL_NAME.fullmatch(pool.name):
        raise UsageError(
            f"pool name {pool.name!r} must be 1 to 30 lowercase letters, digits and dashes, "
            "without a dash at either end"
        )
    return f"conveyor-{pool.name}-{secrets.token_hex(5)}"


def pool_of(machine: str) -> str:
    """Return the pool's name, given a machine's id."""
    return machine.removeprefix("conveyor-").rpartition("-")[0]


def machine_of(labels: Iterable[str]) -> str:
    """Return the id of the machine that a worker with these labels runs on; "" if none."""
    found = (label.partition("=")[2] for label in labels if label.startswith(f"{MACHINE_LABEL}="))
    return next(found, "")


def agent_args(
    launch: AgentLaunch, pool: PoolSpec, machine: str, more: tuple[str, ...] = ()
) -> list[str]:
    """Return the arguments of `conveyor` that start the agent on a machine."""
    args = ["agent", "--server", launch.server, "--concurrency", str(pool.slots)]
    if pool.app:
        args += ["--app", pool.app]
    args += ["--allow-commands"] * pool.commands + ["--one-shot"] * pool.one_shot
    if launch.token_file:
        args += ["--token-file", launch.token_file]
    for label in (f"{MACHINE_LABEL}={machine}", *pool.labels):
        args += ["--label", label]
    for queue in pool.queues:
        args += ["--queue", weighted_queue(queue)]
    return [*args, *launch.args, *more]


def agent_environment(launch: AgentLaunch, machine: str) -> dict[str, str]:
    """Return the environment variables of the agent on a machine."""
    trust = {"CONVEYOR_CA_FILE": launch.ca_file} if launch.ca_file else {}
    return {MACHINE_VARIABLE: machine, **trust}


def convert_options(kind: type[T], options: Mapping[str, Any], where: str) -> T:
    """Convert a table of the configuration; UsageError says where it is wrong and how."""
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error
