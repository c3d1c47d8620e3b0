"""A Docker engine for tests, on a unix socket: the part of its API that is asked, and no more.

Written from the published description of the Engine API, versions 1.25 to 1.51. Whatever a request
has that is not documented there is kept in `wrong`, which a test has to find empty.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from jsonschema import Draft202012Validator

TEXT, WHOLE, YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}
MAP = {"type": "object", "additionalProperties": TEXT}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


RESTART = thing(
    Name={"enum": ["", "no", "always", "unless-stopped", "on-failure"]}, MaximumRetryCount=WHOLE
)
HOST = thing(
    Binds=TEXTS,
    NetworkMode=TEXT,
    RestartPolicy=RESTART,
    AutoRemove=YES,
    Memory=WHOLE,
    MemorySwap=WHOLE,
    NanoCpus=WHOLE,
    CpuShares=WHOLE,
    PidsLimit=WHOLE,
    Privileged=YES,
    ReadonlyRootfs=YES,
    CapAdd=TEXTS,
    CapDrop=TEXTS,
    SecurityOpt=TEXTS,
    Tmpfs=MAP,
    ShmSize=WHOLE,
    Init=YES,
    ExtraHosts=TEXTS,
)
CONTAINER = {
    **thing(
        Hostname=TEXT,
        User=TEXT,
        Tty=YES,
        Env=TEXTS,
        Cmd=TEXTS,
        Entrypoint=TEXTS,
        Image=TEXT,
        WorkingDir=TEXT,
        Labels=MAP,
        StopSignal=TEXT,
        StopTimeout=WHOLE,
        HostConfig=HOST,
    ),
    "required": ["Image"],
}
FILTERS = {
    **thing(**dict.fromkeys(("label", "name", "id", "status"), TEXTS)),
    "minProperties": 1,
}
NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
FLAG = re.compile("true|false|1|0")
NUMBER = re.compile(r"\d+")
# method, path -> the parameters of its query, and what each looks like
DOCUMENTED: dict[tuple[str, str], dict[str, re.Pattern[str]]] = {
    ("GET", "/containers/json"): {
        "all": FLAG,
        "limit": NUMBER,
        "size": FLAG,
        "filters": re.compile(".*"),
    },
    ("POST", "/containers/create"): {"name": NAME, "platform": re.compile(".*")},
    ("POST", "/containers/{id}/start"): {"detachKeys": re.compile(".*")},
    ("POST", "/containers/{id}/stop"): {"signal": re.compile(r"[A-Z0-9]+"), "t": NUMBER},
    ("DELETE", "/containers/{id}"): {"v": FLAG, "force": FLAG, "link": FLAG},
}


class Engine:
    """The engine. `faults` say what becomes of the next requests to an operation."""

    def __init__(self, folder: Path, *, newest: str = "1.51", oldest: str = "1.24") -> None:
        self.socket = str(folder / "docker.sock")
        self.newest, self.oldest = newest, oldest
        self.images = {"farm:1"}
        self.containers: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.versions: set[str] = set()
        self.wrong: list[str] = []
        # operation -> what happens next time: "lose" an answer, or a status and a message
        self.faults: dict[str, list[str | tuple[int, str]]] = {}

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._judge])
        app.router.add_get("/version", self._version)
        app.router.add_get("/v{version}/containers/json", self._list)
        app.router.add_post("/v{version}/containers/create", self._create)
        app.router.add_post("/v{version}/containers/{id}/start", self._start)
        app.router.add_post("/v{version}/containers/{id}/stop", self._stop)
        app.router.add_delete("/v{version}/containers/{id}", self._delete)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.UnixSite(self._runner, self.socket).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def foreign(self, name: str) -> None:
        """Have a container that somebody else made."""
        self._add(name, {"Image": "farm:1", "Labels": {"conveyor.machine": name}})

    @web.middleware
    async def _judge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        route = request.match_info.route.resource
        path = route.canonical if route else request.path
        self.asked.append(f"{request.method} {path.removeprefix('/v{version}')}")
        if path != "/version":
            refused = self._refuse(request, path)
            if refused:
                return refused
        faults = self.faults.get(self.asked[-1], [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, tuple):
            return _error(*fault)
        try:
            given = await handler(request)
        except web.HTTPException as error:
            self.wrong.append(f"{request.method} {request.path_qs} is not documented")
            return _error(error.status, "page not found")
        if fault == "lose":
            assert request.transport is not None
            request.transport.abort()
        return given

    def _refuse(self, request: web.Request, path: str) -> web.Response | None:
        version = request.match_info.get("version")
        if version is None:
            self.wrong.append(f"{request.path} names no version")
            return None
        self.versions.add(version)
        if _numbers(version) > _numbers(self.newest):
            return _error(
                400,
                f"client version {version} is too new. Maximum supported API version is "
                f"{self.newest}",
            )
        if _numbers(version) < _numbers(self.oldest):
            return _error(400, f"client version {version} is too old")
        known = DOCUMENTED.get((request.method, path.removeprefix("/v{version}")), {})
        for name, value in request.query.items():
            if name not in known or not known[name].fullmatch(value):
                self.wrong.append(f"{request.path}: {name}={value}")
        if request.can_read_body and not path.endswith("/create"):
            self.wrong.append(f"{request.path} takes no body")
        return None

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": self.newest, "MinAPIVersion": self.oldest})

    async def _list(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query.get("filters", "{}"))
        self._valid(FILTERS, filters, "filters")
        every = request.query.get("all") in ("true", "1")
        found = [
            {name: each[name] for name in ("Id", "Names", "Image", "Created", "State", "Status")}
            | {"Labels": each["Config"].get("Labels", {}), "Command": "conveyor agent", "Ports": []}
            for each in self.containers.values()
            if (every or each["State"] == "running")
            and all(_labelled(each, label) for label in filters.get("label", []))
        ]
        return web.json_response(found)

    async def _create(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            self.wrong.append(f"create with {request.content_type}")
        body = await request.json()
        self._valid(CONTAINER, body, "create")
        name = request.query.get("name", "")
        if body["Image"] not in self.images:
            return _error(404, f"No such image: {body['Image']}")
        if name in self.containers:
            return _error(409, f'Conflict. The container name "/{name}" is already in use')
        made = self._add(name, body)
        return web.json_response({"Id": made, "Warnings": []}, status=201)

    async def _start(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found is None:
            return _error(404, "No such container")
        if found["State"] == "running":
            return web.Response(status=304)
        found |= {"State": "running", "Status": "Up 1 second"}
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found is None:
            return _error(404, "No such container")
        if found["State"] != "running":
            return web.Response(status=304)
        found |= {"State": "exited", "Status": "Exited (0) 1 second ago"}
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found is None:
            return _error(404, "No such container")
        if found["State"] == "running" and request.query.get("force") not in ("true", "1"):
            return _error(409, "You cannot remove a running container")
        del self.containers[found["Names"][0][1:]]
        return web.Response(status=204)

    def _add(self, name: str, config: dict[str, Any]) -> str:
        made = hashlib.sha256(name.encode()).hexdigest()
        self.containers[name] = {
            "Id": made,
            "Names": [f"/{name}"],
            "Image": config["Image"],
            "Created": 1_790_000_000,
            "State": "created",
            "Status": "Created",
            "Config": config,
        }
        return made

    def _found(self, request: web.Request) -> dict[str, Any] | None:
        wanted = request.match_info["id"]
        fitting = (name for name, each in self.containers.items() if wanted in (name, each["Id"]))
        name = next(fitting, None)
        return None if name is None else self.containers[name]

    def _valid(self, schema: Any, value: Any, what: str) -> None:
        self.wrong += [
            f"{what}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)
        ]


def _labelled(container: dict[str, Any], label: str) -> bool:
    name, is_one, value = label.partition("=")
    labels = container["Config"].get("Labels", {})
    return name in labels and (not is_one or labels[name] == value)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
