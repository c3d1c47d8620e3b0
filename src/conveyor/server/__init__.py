"""The HTTP server: jobs for programs and agents on other machines; store/http/ has the calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import ConveyorError
from ..store.http.calls import CALLS, HINTS, PREFIX, TERMS, Call
from ..store.http.problems import problem
from ..store.protocol import Store
from .checks import Checks
from .gate import Gate, allow
from .handlers import Asked, Handlers, Rules
from .hub import Hub
from .openapi import openapi
from .reading import GoneError, RefusedError, answer, read, refuse, refuse_error

log = logging.getLogger("conveyor.server")

BUSY = "/queues/", "/workers/", "/reports", "/leases/"

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def make_app(store: Store, *, tokens: bool, rules: Rules | None = None) -> Starlette:
    """Return the server as an ASGI application over a store, which stays the caller's to close.

    With `tokens` every call needs one; without, everybody may everything.
    """
    gate = Gate(store, wanted=tokens)
    hub = Hub(store, gate.forget)
    checks = Checks(store)
    rules = rules or Rules()
    handlers = Handlers(store=store, hub=hub, checks=checks, rules=rules)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        hub.open()
        try:
            yield
        finally:
            hub.close()
            handlers.close()

    def endpoint(call: Call) -> Endpoint:
        async def handle(request: Request) -> Response:
            async def work() -> Response:
                where = request.client.host if request.client else ""
                caller = await gate.identify(request.headers.get("authorization", ""), where)
                if not caller.is_admin and not call.scopes:
                    allow(caller, (), None, call.name)
                body = await read(request, call, rules.body_limit)
                await checks.check(call, caller, request.path_params, body)
                return await handlers.handle(
                    Asked(request, call, caller, request.path_params, body)
                )

            return await _answered(call.name, work())

        return handle

    app = Starlette(
        routes=_routes(endpoint),
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route, Exception: _failed},
    )
    app.state.hub = hub
    return app


def _routes(endpoint: Callable[[Call], Endpoint]) -> list[Route]:
    calls = [*CALLS.values(), TERMS, HINTS]
    # A name may hold anything, slashes too; so the addresses that say more after it come first.
    # They are tried one by one: those that are asked for thousands of times a second before all.
    calls.sort(key=lambda call: (not call.path.startswith(BUSY), -len(call.path)))
    routes = [
        Route(PREFIX + call.path.replace("}", ":path}"), endpoint(call), methods=[call.method])
        for call in calls
    ]
    document = openapi(version("conveyor"))

    async def describe(_request: Request) -> Response:
        return Response(document, media_type="application/json")

    described = Route(f"{PREFIX}/openapi.json", describe)
    return [Route(f"{PREFIX}/health", _health), described, *routes]


async def _health(_request: Request) -> Response:
    return answer({"status": "ok"})


async def _answered(name: str, work: Coroutine[Any, Any, Response]) -> Response:
    try:
        return await work
    except RefusedError as error:
        return refuse(error.problem)
    except GoneError:
        return Response(status_code=499)  # nobody reads it
    except ConveyorError as error:
        return refuse_error(error)
    except Exception:
        # What went wrong is for the log of the server, and not for whoever asks.
        log.exception("call.failed name=%s", name)
        return refuse(problem("internal", f"{name} failed; the server's log says why"))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    if error.status_code == 405:
        return refuse(problem("no_method", f"{request.method} is not known at {request.url.path}"))
    return refuse(
        problem(
            "no_route",
            f"there is nothing at {request.url.path}; {PREFIX}/openapi.json lists what there is",
        )
    )


async def _failed(_request: Request, error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return refuse(problem("internal", "the server failed; its log says why"))
