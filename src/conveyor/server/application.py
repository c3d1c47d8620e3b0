"""The HTTP server: jobs for programs and agents on other machines; store/http/ has the calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..errors import ConveyorError, UnavailableError
from ..store.http.api import CALLS, OWN, PREFIX, Call
from ..store.http.problems import PROBLEMS, problem, problem_of
from ..store.protocol import Store
from .auth import Gate, allow_at_all
from .authorization import Checks
from .handlers import Handlers
from .hub import Hub
from .inline_commit import Traffic
from .io import GoneError, RefusedError, answer, read, refuse, refuse_error
from .openapi import openapi
from .request import Asked, Rules
from .router import Addresses, Endpoint, decoded

log = logging.getLogger("conveyor.server")


class Application(Router):
    """The server as an ASGI application over a store, which stays the caller's to close.

    With `tokens` every call needs one; without, everybody on this machine may everything, until
    there is a token. `gate` decides that otherwise.
    """

    def __init__(
        self, store: Store, *, tokens: bool, rules: Rules | None = None, gate: Gate | None = None
    ) -> None:
        super().__init__(default=self._respond, lifespan=self._live)
        self._gate = gate or Gate(store, wanted=tokens)
        self._hub = Hub(store, self._gate.forget)
        self._checks = Checks(store)
        self._rules = rules or Rules()
        self._traffic = Traffic()
        self._handlers = Handlers(
            store=store,
            gate=self._gate,
            hub=self._hub,
            checks=self._checks,
            rules=self._rules,
            traffic=self._traffic,
        )
        self._addresses = Addresses()
        for call in (*CALLS.values(), *OWN):
            self._addresses.add(call.method, PREFIX + call.path, self._endpoint(call))
        for path, endpoint in (("/health", _health), ("/openapi.json", _describing())):
            for method in ("GET", "HEAD"):
                self._addresses.add(method, PREFIX + path, endpoint)

    def end_waiting(self) -> None:
        """Have everybody answered who waits for something, and say the same to whoever asks."""
        self._hub.close()

    @asynccontextmanager
    async def _live(self, _app: object) -> AsyncGenerator[None]:
        self._hub.open()
        try:
            yield
        finally:
            self._hub.close()
            self._handlers.close()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        found = self._addresses.find(scope["raw_path"].decode("ascii", "replace"))
        if found is None:
            response = _no_route()
        elif (endpoint := found.endpoints.get(request.method)) is None:
            response = _no_method(request.method, found.endpoints)
        else:
            response = await endpoint(request, found.names)
        await response(scope, receive, send)

    def _endpoint(self, call: Call) -> Endpoint:
        async def handle(request: Request, names: Mapping[str, str]) -> Response:
            with self._traffic.going():
                return await _answered(call.name, self._work(call, request, names))

        return handle

    async def _work(self, call: Call, request: Request, names: Mapping[str, str]) -> Response:
        where = request.client.host if request.client else ""
        caller = await self._gate.identify(request.headers, where)
        allow_at_all(caller, call.scopes, call.name)
        path = decoded(names)
        body = await read(request, call, self._rules.body_limit)
        await self._checks.check(call, caller, path, body)
        return await self._handlers.handle(Asked(request, call, caller, path, body))


async def _health(_request: Request, _names: Mapping[str, str]) -> Response:
    return answer({"status": "ok"})


def _describing() -> Endpoint:
    document = openapi(version("conveyor"))

    async def describe(_request: Request, _names: Mapping[str, str]) -> Response:
        return Response(document, media_type="application/json")

    return describe


async def _answered(name: str, work: Coroutine[Any, Any, Response]) -> Response:
    try:
        return await work
    except RefusedError as error:
        return refuse(error.problem)
    except GoneError as error:
        if error.reason is not None:
            return refuse_error(error.reason)
        return Response(status_code=499)  # nobody reads it
    except UnavailableError as error:
        # It may name files of this machine, so it is for the log alone.
        log.warning("call.unavailable name=%s error=%s", name, error)
        code = problem_of(error).code
        return refuse(problem(code, f"{PROBLEMS[code][1]}; the server's log says why"))
    except ConveyorError as error:
        return refuse_error(error)
    except Exception:
        # What went wrong is for the log of the server, and not for whoever asks.
        log.exception("call.failed name=%s", name)
        return refuse(problem("internal", f"{name} failed; the server's log says why"))


def _no_method(method: str, known: Iterable[str]) -> Response:
    allowed = ", ".join(sorted(known))
    found = problem("no_method", f"{method} is not known here, but {allowed}")
    return refuse(found, {"Allow": allowed})


def _no_route() -> Response:
    return refuse(
        problem(
            "no_route",
            f"there is nothing at this address; {PREFIX}/openapi.json lists what there is",
        )
    )
