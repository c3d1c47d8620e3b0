"""Machines that are containers, by Docker's Engine API over its socket.

Containers carry labels for their owner, pool and machine; the machine's id is also the container's
name. Names are assigned here, so that repeating a request creates no second container. The API
lists containers without pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from ...errors import UnavailableError, UsageError
from ..agent_launch import (
    AgentLaunch,
    agent_args,
    agent_environment,
    convert_options,
    new_machine_id,
)
from ..fan_out import call_each, create_machines, log, try_each
from ..http_api import (
    ApiResponse,
    HttpApi,
    NoResponseError,
    decode_response,
    error_message,
    send_twice,
)
from ..provider import Machine, PoolSpec, ProvisioningState

OWNER, POOL, MACHINE = "conveyor.owner", "conveyor.pool", "conveyor.machine"
# Paths in the container.
TOKEN_FILE, CA_FILE = "/run/conveyor/token", "/run/conveyor/ca.pem"
# The versions of the API for which this module was written.
OLDEST, NEWEST = (1, 25), (1, 51)
# How long exited containers are kept for `docker logs`, in seconds since their creation.
KEEP_EXITED = 3600.0
# State of a container -> state of the machine. An exited one costs nothing, a dead one may.
STATES: dict[str, ProvisioningState] = {
    "created": "starting",
    "running": "running",
    "paused": "running",
    "restarting": "starting",
    "removing": "stopping",
    "exited": "gone",
    "dead": "errored",
}


class DockerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`grace` is the time between SIGTERM and SIGKILL, `timeout` that of a request, in seconds."""

    socket: str = "/var/run/docker.sock"
    owner: str = "conveyor"
    grace: int = 35
    timeout: float = 60.0


class DockerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a pool: the image, and its entry point unless that is `conveyor`.

    `host` is merged into the HostConfig of the Engine API.
    """

    image: str
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    host: dict[str, Any] = {}


class VersionRange(msgspec.Struct):
    """The versions of the API that the engine supports."""

    newest: str = msgspec.field(name="ApiVersion")
    oldest: str = msgspec.field(name="MinAPIVersion", default="1.24")


class Container(msgspec.Struct):
    """A container in the list."""

    id: str = msgspec.field(name="Id")
    created: float = msgspec.field(name="Created")
    state: str = msgspec.field(name="State")
    status: str = msgspec.field(name="Status", default="")
    labels: dict[str, str] = msgspec.field(name="Labels", default_factory=dict[str, str])


class DockerProvider:
    """The containers of one engine."""

    def __init__(self, settings: DockerSettings, launch: AgentLaunch) -> None:
        self._settings, self._launch = settings, launch
        self._version = ""
        self._api = HttpApi(
            name=f"Docker at {settings.socket}",
            address="http://docker",
            connect=_connector(settings.socket),
            timeout=settings.timeout,
        )

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Create containers and start them."""
        options = convert_options(DockerOptions, pool.options, f"pool {pool.name}")
        await self._remove_old()
        return await create_machines(lambda: self._create(pool, options), count)

    async def destroy(self, ids: Collection[str]) -> None:
        """Stop containers (SIGTERM, SIGKILL after the grace); remove them with their volumes."""
        if ids:
            owned = await self._containers()
            machines = [each.id for each in owned if each.labels.get(MACHINE) in ids]
            await call_each(self._destroy, machines)

    async def list(self) -> Sequence[Machine]:
        """Return all containers of this owner, including exited ones."""
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
        """Close the connections."""
        await self._api.close()

    async def _create(self, pool: PoolSpec, options: DockerOptions) -> Machine:
        machine = new_machine_id(pool)
        body = self._container(pool, options, machine)
        response, _ = await send_twice(
            lambda: self._request("POST", "/containers/create", params={"name": machine}, body=body)
        )
        if response.status == 404:
            raise UsageError(
                f"{self._api.name} has no image {options.image!r}; pull or build it there"
            )
        # 409: the first request was carried out, and its response lost.
        self._check(response, (201, 409), f"create a container of pool {pool.name}")
        created_at = time.time()
        started, _ = await send_twice(lambda: self._request("POST", f"/containers/{machine}/start"))
        if started.status not in (204, 304):
            # It would never run.
            await self._remove(machine)
            self._check(started, (), f"start a container of pool {pool.name}")
        return Machine(id=machine, pool=pool.name, created_at=created_at, state="starting")

    async def _remove_old(self) -> None:
        """Remove containers that exited by themselves some time ago."""
        before = time.time() - KEEP_EXITED
        old = [each.id for each in await self._containers() if _has_exited(each, before)]
        _, errors = await try_each(self._remove, old)
        for error in errors:
            log.warning("machine.not_removed error=%s", error)

    async def _destroy(self, container: str) -> None:
        stopped = await self._request(
            "POST",
            f"/containers/{quote(container, safe='')}/stop",
            params={"t": str(self._settings.grace)},
            extra_timeout=self._settings.grace,
        )
        self._check(stopped, (204, 304, 404), "stop a container")
        await self._remove(container)

    async def _remove(self, container: str) -> None:
        removed = await self._request(
            "DELETE",
            f"/containers/{quote(container, safe='')}",
            params={"v": "true", "force": "true"},
        )
        # 409: the removal is in progress.
        self._check(removed, (204, 404, 409), "remove a container")

    async def _containers(self) -> Sequence[Container]:
        labels = [f"{OWNER}={self._settings.owner}"]
        filters = msgspec.json.encode({"label": labels}).decode()
        response = await self._request(
            "GET", "/containers/json", params={"all": "true", "filters": filters}
        )
        self._check(response, (200,), "list containers")
        return decode_response(self._api, response, list[Container])

    def _container(self, pool: PoolSpec, options: DockerOptions, machine: str) -> dict[str, object]:
        launch, binds = _in_container(self._launch)
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
            # An agent that exits is replaced by another machine.
            "HostConfig": {"RestartPolicy": {"Name": "no"}, **host},
        }

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        extra_timeout: float = 0.0,
    ) -> ApiResponse:
        if not self._version:
            self._version = await self._negotiate()
        try:
            return await self._api.request(
                method,
                f"/v{self._version}{path}",
                params=params,
                body=body,
                extra_timeout=extra_timeout,
            )
        except NoResponseError:
            # The engine may be restarting with another version.
            self._version = ""
            raise

    async def _negotiate(self) -> str:
        response = await self._api.request("GET", "/version")
        self._check(response, (200,), "report its version")
        supported = decode_response(self._api, response, VersionRange)
        oldest, newest = _version_numbers(supported.oldest), _version_numbers(supported.newest)
        if newest < OLDEST or oldest > NEWEST:
            raise UsageError(
                f"{self._api.name} supports API versions {supported.oldest} to {supported.newest}, "
                f"this provider {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
            )
        return ".".join(map(str, min(newest, NEWEST)))

    def _check(self, response: ApiResponse, good: Collection[int], what: str) -> None:
        if response.status in good:
            return
        text = f"{self._api.name} could not {what}: {response.status}, {error_message(response)}"
        raise (UnavailableError if response.status >= 500 else UsageError)(text)


def _connector(socket: str) -> Callable[[], aiohttp.BaseConnector]:
    return lambda: aiohttp.UnixConnector(path=socket)


def _in_container(launch: AgentLaunch) -> tuple[AgentLaunch, list[str]]:
    """Return the launch with paths in the container, and the mounts for them."""
    binds: list[str] = []
    if launch.token_file:
        binds.append(f"{launch.token_file}:{TOKEN_FILE}:ro")
    if launch.ca_file:
        binds.append(f"{launch.ca_file}:{CA_FILE}:ro")
    in_container = msgspec.structs.replace(
        launch,
        token_file=launch.token_file and TOKEN_FILE,
        ca_file=launch.ca_file and CA_FILE,
    )
    return in_container, binds


def _has_exited(container: Container, before: float) -> bool:
    return container.state == "exited" and container.created < before


def _version_numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    try:
        return int(major), int(minor)
    except ValueError as error:
        raise UnavailableError(f"Docker sent an invalid version: {version!r}") from error
