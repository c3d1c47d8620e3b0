"""The HTTP server as an ASGI application: from a request to its handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..core.event_log import open_event_log
from ..errors import ConveyorError, UnavailableError
from ..store.http.api import METRICS, PREFIX, SERVER_CALLS, STORE_CALLS, ApiCall
from ..store.http.problems import PROBLEMS, problem, problem_from_error
from ..store.protocol import Store
from ..system.file_threads import FileThreads
from .auth import Authenticator
from .authorization import Authorizer, check_scope
from .body_room import BodyRoom, BodySpace
from .connection_watch import ClientGoneError
from .dashboard.endpoints import Dashboard
from .handlers import Handlers
from .http_io import ProblemError, error_response, json_response, problem_response, read_payload
from .http_limits import note_authenticated
from .hub import Hub
from .inline_commit import InlineCommit
from .openapi import openapi
from .origin_guard import DATA_POLICY
from .request import ApiRequest
from .router import Endpoint, RouteTable, decode_names
from .server_config import ServerConfig
from .validation import check_consistency

log = open_event_log("server")


class Application(Router):
    """The API of a store, which the caller has to close.

    With `tokens` every call needs a token. Without, any local client may do everything until
    the first token is created. `authenticator` replaces that rule, `authorizer` those of scopes.
    """

    def __init__(
        self,
        store: Store,
        *,
        tokens: bool,
        config: ServerConfig | None = None,
        authenticator: Authenticator | None = None,
        authorizer: Authorizer | None = None,
    ) -> None:
        super().__init__(default=self._respond, lifespan=self._lifespan)
        self._config = config or ServerConfig()
        self._authenticator = authenticator or Authenticator(store, required=tokens)
        self._authorizer = authorizer or Authorizer(store)
        self._hub = Hub(store, self._authenticator.forget_tokens)
        self._inline_commit = InlineCommit()
        # One, so that large bodies do not use up the memory together.
        self._decoding = FileThreads(max_threads=1)
        self._body_room = BodyRoom(self._config.body_limit, wait=self._config.room_wait)
        self._handlers = Handlers(
            store=store,
            authenticator=self._authenticator,
            authorizer=self._authorizer,
            hub=self._hub,
            config=self._config,
            inline_commit=self._inline_commit,
        )
        dashboard = Dashboard(
            store=store,
            authenticator=self._authenticator,
            authorizer=self._authorizer,
            hub=self._hub,
            viewers=self._config.viewers,
            version=version("conveyor"),
        )
        self._routes = RouteTable()
        for call in (*STORE_CALLS.values(), *SERVER_CALLS):
            self._routes.add(call.method, PREFIX + call.path, self._endpoint(call))
        # Where Prometheus looks unless it is told otherwise.
        self._routes.add(METRICS.method, METRICS.path, self._endpoint(METRICS))
        for path, endpoint in (("/health", _health), ("/openapi.json", _openapi)):
            for method in ("GET", "HEAD"):
                self._routes.add(method, PREFIX + path, endpoint)
        for method, path, answer in dashboard.routes():
            self._routes.add(method, path, _safely(answer))

    def end_waiting(self) -> None:
        """Answer all waiting calls and end all streams, now and from now on."""
        self._hub.close()

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncGenerator[None]:
        self._hub.open()
        try:
            yield
        finally:
            self._hub.close()
            self._handlers.close()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive, send)
        route = self._routes.find(scope["raw_path"].decode("ascii", "replace"))
        if route is None:
            response = _no_route()
        elif (endpoint := route.endpoints.get(http.method)) is None:
            response = _no_method(http.method, route.endpoints)
        else:
            response = await endpoint(http, route.names)
        response.headers.setdefault(*DATA_POLICY)
        await response(scope, receive, send)

    def _endpoint(self, call: ApiCall) -> Endpoint:
        async def endpoint(http: Request, names: Mapping[str, str]) -> Response:
            with self._inline_commit.count_request():
                try:
                    return await self._answer(call, http, names)
                except Exception as error:  # noqa: BLE001 - every request is answered
                    return _failure(call.name, error)

        return endpoint

    async def _answer(self, call: ApiCall, http: Request, names: Mapping[str, str]) -> Response:
        """Authenticate, decode, validate, authorize and handle a call, in this order."""
        address = http.client.host if http.client else ""
        # An agent whose token has ended returns its jobs, so that they count no crash.
        former = call.name == "settle"
        principal = await self._authenticator.identify(
            http.headers, address, method=http.method, former=former
        )
        note_authenticated(http)
        check_scope(call, principal)  # before reading a body, which may be large
        path = decode_names(names)
        owner = "" if principal.token is None else principal.token.id
        with BodySpace(self._body_room, owner) as space:
            body = await read_payload(
                http, call, self._config.body_limit, self._config.args_limit, self._decoding, space
            )
            if not call.in_query:  # reading the body may have taken half a minute
                principal = await self._authenticator.identify(
                    http.headers, address, method=http.method, former=former
                )
            check_consistency(path, body)
            await self._authorizer.check(call, principal, path, body)
            request = ApiRequest(http, call, principal, path, body, space)
            return await self._handlers.handle(request)


async def _health(_http: Request, _names: Mapping[str, str]) -> Response:
    return json_response({"status": "ok"})


async def _openapi(_http: Request, _names: Mapping[str, str]) -> Response:
    return Response(openapi(version("conveyor")), media_type="application/json")


def _safely(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that answers errors with problems."""

    async def answering(http: Request, names: Mapping[str, str]) -> Response:
        try:
            return await endpoint(http, names)
        except Exception as error:  # noqa: BLE001 - every request is answered
            return _failure(f"{http.method} {http.url.path}", error)

    return answering


def _failure(name: str, error: Exception) -> Response:
    match error:
        case ProblemError():
            return problem_response(error.problem)
        case ClientGoneError(reason=None):
            return Response(status_code=499)  # no client reads it
        case ClientGoneError(reason=ConveyorError() as reason):
            return error_response(reason)
        case UnavailableError():
            # Its message may contain paths of this machine, so only the log gets it.
            log.warning("call.unavailable name=%s error=%s", name, error)
            code = problem_from_error(error).code
            return problem_response(problem(code, f"{PROBLEMS[code][1]}; see the server's log"))
        case ConveyorError():
            return error_response(error)
        case _:
            log.error("call.failed name=%s", name, exc_info=error)
            return problem_response(problem("internal", f"{name} failed; see the server's log"))


def _no_method(method: str, known: Iterable[str]) -> Response:
    allowed = ", ".join(sorted(known))
    found = problem("no_method", f"{method} is not allowed here; allowed: {allowed}")
    return problem_response(found, {"Allow": allowed})


def _no_route() -> Response:
    return problem_response(
        problem("no_route", f"no such path; {PREFIX}/openapi.json lists all paths")
    )
