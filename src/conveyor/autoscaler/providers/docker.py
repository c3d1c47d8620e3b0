"""Machines that are containers: Docker's Engine API over its socket, or that of what is like it.

A container is found again by labels: whose it is, its pool, its machine, which is its name too. The
name is given here, so that asking once more for one whose creation was not answered makes no other.
The API's list of containers comes whole: it has no pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from ...errors import UnavailableError, UsageError
from ..agent_launch import Launch, agent_args, agent_environment, new_machine_id, read_options
from ..fan_out import call_each, create_machines, log, try_each
from ..http_api import Answer, Api, LostError, decoded, message, send_twice
from ..provider import Machine, MachineState, PoolSpec

OWNER, POOL, MACHINE = "conveyor.owner", "conveyor.pool", "conveyor.machine"
# Where the files for the agent are in the container.
TOKEN_FILE, CA_FILE = "/run/conveyor/token", "/run/conveyor/ca.pem"
# The versions of the API in which all that is asked here means the same.
OLDEST, NEWEST = (1, 25), (1, 51)
# How long after it was made one that has ended is kept, for those who want to see why, in seconds.
KEPT = 3600.0
# What a container is -> what a machine is. One that ended costs nothing, one that hangs may.
STATES: dict[str, MachineState] = {
    "created": "starting",
    "running": "running",
    "paused": "running",
    "restarting": "starting",
    "removing": "stopping",
    "exited": "gone",
    "dead": "errored",
}


class DockerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`grace` is how long an agent may take to end, `timeout` how long an answer, in seconds."""

    socket: str = "/var/run/docker.sock"
    owner: str = "conveyor"
    grace: int = 35
    timeout: float = 60.0


class DockerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool says: the image, whose entry point is `conveyor` or else is given.

    `host` goes into the container's HostConfig, in the words of the Engine API.
    """

    image: str
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    host: dict[str, Any] = {}


class Version(msgspec.Struct):
    """What the engine says of the API that it speaks."""

    newest: str = msgspec.field(name="ApiVersion")
    oldest: str = msgspec.field(name="MinAPIVersion", default="1.24")


class Container(msgspec.Struct):
    """A container, of the list."""

    id: str = msgspec.field(name="Id")
    created: float = msgspec.field(name="Created")
    state: str = msgspec.field(name="State")
    status: str = msgspec.field(name="Status", default="")
    labels: dict[str, str] = msgspec.field(name="Labels", default_factory=dict[str, str])


class DockerProvider:
    """Containers of one engine."""

    def __init__(self, settings: DockerSettings, launch: Launch) -> None:
        self._settings, self._launch = settings, launch
        self._version = ""
        self._api = Api(
            name=f"Docker at {settings.socket}",
            address="http://docker",
            connect=_connect(settings.socket),
            timeout=settings.timeout,
        )

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Create containers and start them."""
        options = read_options(DockerOptions, pool.options, f"pool {pool.name}")
        await self._forget_old()
        return await create_machines(lambda: self._create(pool, options), count)

    async def destroy(self, ids: Collection[str]) -> None:
        """SIGTERM, the grace, SIGKILL; then remove the container with what it kept."""
        if ids:
            mine = await self._containers()
            await call_each(
                self._destroy, [each.id for each in mine if each.labels.get(MACHINE) in ids]
            )

    async def list(self) -> Sequence[Machine]:
        """Return all containers of this owner, also those that ended and are not removed."""
        return [
            Machine(
                id=each.labels.get(MACHINE, ""),
                pool=each.labels.get(POOL, ""),
                created_at=each.created,
                state=STATES.get(each.state, "errored"),
                detail=each.status,
            )
            for each in await self._containers()
        ]

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _create(self, pool: PoolSpec, options: DockerOptions) -> Machine:
        machine = new_machine_id(pool)
        body = self._container(pool, options, machine)
        answer, _ = await send_twice(
            lambda: self._ask("POST", "/containers/create", params={"name": machine}, body=body)
        )
        if answer.status == 404:
            raise UsageError(
                f"{self._api.name} has no image {options.image!r}: pull it there, or build it"
            )
        # 409: the name is taken, by the first try.
        self._check(answer, (201, 409), f"create a container of pool {pool.name}")
        began = time.time()
        started, _ = await send_twice(lambda: self._ask("POST", f"/containers/{machine}/start"))
        if started.status not in (204, 304):
            # It would never run; the error says why.
            await self._remove(machine)
            self._check(started, (), f"start a container of pool {pool.name}")
        return Machine(id=machine, pool=pool.name, created_at=began, state="starting")

    async def _forget_old(self) -> None:
        """Remove those that ended by themselves, and that nobody has destroyed since."""
        before = time.time() - KEPT
        old = [each.id for each in await self._containers() if _is_over(each, before)]
        _, errors = await try_each(self._remove, old)
        for error in errors:
            log.warning("machine.not_removed error=%s", error)

    async def _destroy(self, container: str) -> None:
        stopped = await self._ask(
            "POST",
            f"/containers/{quote(container, safe='')}/stop",
            params={"t": str(self._settings.grace)},
            longer=self._settings.grace,
        )
        self._check(stopped, (204, 304, 404), "stop a container")
        await self._remove(container)

    async def _remove(self, container: str) -> None:
        removed = await self._ask(
            "DELETE",
            f"/containers/{quote(container, safe='')}",
            params={"v": "true", "force": "true"},
        )
        # 409: it is being removed already.
        self._check(removed, (204, 404, 409), "remove a container")

    async def _containers(self) -> Sequence[Container]:
        labels = [f"{OWNER}={self._settings.owner}"]
        filters = msgspec.json.encode({"label": labels}).decode()
        answer = await self._ask(
            "GET", "/containers/json", params={"all": "true", "filters": filters}
        )
        self._check(answer, (200,), "list containers")
        return decoded(self._api, answer, list[Container])

    def _container(self, pool: PoolSpec, options: DockerOptions, machine: str) -> dict[str, object]:
        launch, binds = _inside(self._launch)
        env = {**options.env, **agent_environment(launch, machine)}
        host = dict(options.host)
        host["Binds"] = [*host.get("Binds", []), *binds]
        entry = {"Entrypoint": list(options.entrypoint)} if options.entrypoint else {}
        labels = {OWNER: self._settings.owner, POOL: pool.name, MACHINE: machine}
        return {
            "Image": options.image,
            **entry,
            "Cmd": agent_args(launch, pool, machine, options.args),
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Labels": labels,
            "StopSignal": "SIGTERM",
            "StopTimeout": self._settings.grace,
            # An agent that ended was told to, or is replaced by another machine.
            "HostConfig": {"RestartPolicy": {"Name": "no"}, **host},
        }

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        longer: float = 0.0,
    ) -> Answer:
        if not self._version:
            self._version = await self._negotiate()
        try:
            return await self._api.ask(
                method, f"/v{self._version}{path}", params=params, body=body, longer=longer
            )
        except LostError:
            # Whoever answers next may be another engine, just updated.
            self._version = ""
            raise

    async def _negotiate(self) -> str:
        answer = await self._api.ask("GET", "/version")
        self._check(answer, (200,), "say its version")
        spoken = decoded(self._api, answer, Version)
        oldest, newest = _numbers(spoken.oldest), _numbers(spoken.newest)
        if newest < OLDEST or oldest > NEWEST:
            raise UsageError(
                f"{self._api.name} speaks versions {spoken.oldest} to {spoken.newest} of its API, "
                f"and this provider {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
            )
        return ".".join(map(str, min(newest, NEWEST)))

    def _check(self, answer: Answer, good: Collection[int], what: str) -> None:
        if answer.status in good:
            return
        text = f"{self._api.name} did not {what}: {answer.status}, {message(answer)}"
        raise (UnavailableError if answer.status >= 500 else UsageError)(text)


def _connect(socket: str) -> Callable[[], aiohttp.BaseConnector]:
    return lambda: aiohttp.UnixConnector(path=socket)


def _inside(launch: Launch) -> tuple[Launch, list[str]]:
    """Return what an agent in a container is told, and how its files get there."""
    binds: list[str] = []
    if launch.token_file:
        binds.append(f"{launch.token_file}:{TOKEN_FILE}:ro")
    if launch.ca_file:
        binds.append(f"{launch.ca_file}:{CA_FILE}:ro")
    inside = msgspec.structs.replace(
        launch,
        token_file=launch.token_file and TOKEN_FILE,
        ca_file=launch.ca_file and CA_FILE,
    )
    return inside, binds


def _is_over(container: Container, before: float) -> bool:
    return container.state == "exited" and container.created < before


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    try:
        return int(major), int(minor)
    except ValueError as error:
        raise UnavailableError(f"Docker says a version that is none: {version!r}") from error
