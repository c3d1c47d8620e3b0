"""The HTTP server: jobs for programs and agents on other machines; store/http/ has the calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import ConveyorError, UnavailableError
from ..store.http.calls import CALLS, OWN, PREFIX, Call
from ..store.http.problems import PROBLEMS, problem, problem_of
from ..store.protocol import Store
from .addresses import Address, Encoded, Endpoint, methods, names
from .asked import Asked, Rules
from .checks import Checks
from .gate import Gate, allow_at_all
from .handlers import Handlers
from .hub import Hub
from .openapi import openapi
from .reading import GoneError, RefusedError, answer, read, refuse, refuse_error
from .traffic import Traffic

log = logging.getLogger("conveyor.server")

BUSY = "/queues/", "/workers/", "/reports", "/leases/"


def make_app(
    store: Store, *, tokens: bool, rules: Rules | None = None, gate: Gate | None = None
) -> Starlette:
    """Return the server as an ASGI application over a store, which stays the caller's to close.

    With `tokens` every call needs one; without, everybody on this machine may everything, until
    there is a token. `gate` decides that otherwise.
    """
    gate = gate or Gate(store, wanted=tokens)
    hub = Hub(store, gate.forget)
    checks = Checks(store)
    rules = rules or Rules()
    traffic = Traffic()
    handlers = Handlers(
        store=store, gate=gate, hub=hub, checks=checks, rules=rules, traffic=traffic
    )

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
                caller = await gate.identify(request.headers, where)
                allow_at_all(caller, call.scopes, call.name)
                path = names(request.path_params)
                body = await read(request, call, rules.body_limit)
                await checks.check(call, caller, path, body)
                return await handlers.handle(Asked(request, call, caller, path, body))

            with traffic.going():
                return await _answered(call.name, work())

        return handle

    app = Starlette(
        routes=_routes(endpoint),
        middleware=[Middleware(Encoded)],
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.hub = hub
    return app


def _routes(endpoint: Callable[[Call], Endpoint]) -> list[Route]:
    calls = [*CALLS.values(), *OWN]
    # They are tried one by one: those that are asked for thousands of times a second come first.
    calls.sort(key=lambda call: not call.path.startswith(BUSY))
    routes = [Address(PREFIX + call.path, endpoint(call), call.method) for call in calls]
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


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    if error.status_code == 405:
        allowed = methods(request.app.routes, request.scope["path"])
        found = problem("no_method", f"{request.method} is not known here, but {allowed}")
        return refuse(found, {"Allow": allowed})
    return refuse(
        problem(
            "no_route",
            f"there is nothing at this address; {PREFIX}/openapi.json lists what there is",
        )
    )


async def _failed(_request: Request, error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return refuse(problem("internal", "the server failed; its log says why"))
