"""The addresses of the dashboard: its pages, its session, who looks at it, and its events."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...core.unreadable import UNREADABLE
from ...errors import UsageError
from ...store.http.api import PREFIX, SERVER_CALLS, STORE_CALLS
from ...store.http.api_call import READ_OR_ENQUEUE, ApiCall
from ...store.protocol import Store
from ..auth import Authenticator, Principal
from ..authorization import Authorizer, check_scope
from ..http_io import json_response
from ..http_limits import note_authenticated
from ..hub import Hub
from ..session_cookie import check_own_page, session_cookie
from .events import EventStreams
from .pages import INDEX, load_pages
from .snapshot import SnapshotFeed

Endpoint = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
# No call of the public API: programs use the call `hints`.
EVENTS = ApiCall(
    name="events",
    method="GET",
    path="/events",
    scopes=READ_OR_ENQUEUE,
    summary="Stream what changes to a page",
)
# How long a login's body may be, in bytes: a token has 56 characters.
LOGIN_LIMIT = 1000


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a login."""

    token: str


def decode_login(data: bytes) -> Login:
    """Return a login from its body; UsageError if it is none."""
    try:
        return msgspec.json.decode(data, type=Login)
    except UNREADABLE as error:
        raise UsageError(f"body of the login: {error}") from error


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks at the dashboard, and what it may do.

    `may` are the names of the calls that its scopes allow, for some queue. `instance` is the name
    of the server's host.
    """

    name: str
    role: str
    may: list[str]
    queues: tuple[str, ...]
    instance: str
    version: str
    has_session: bool


class Dashboard:
    """Answers what is not a call of the public API."""

    def __init__(
        self,
        *,
        store: Store,
        authenticator: Authenticator,
        authorizer: Authorizer,
        hub: Hub,
        viewers: int,
        version: str,
    ) -> None:
        self._authenticator = authenticator
        self._version = version
        feed = SnapshotFeed(store)
        self._events = EventStreams(
            authenticator=authenticator,
            authorizer=authorizer,
            hub=hub,
            feed=feed,
            viewers=viewers,
        )

    def routes(self) -> Iterator[tuple[str, str, Endpoint]]:
        """Return the method, the path and the endpoint of each address."""
        pages = load_pages()
        for method in ("GET", "HEAD"):
            yield method, "/", _page(INDEX)
            for path in pages.files:
                yield method, f"/static/{{version}}/{path}", _page(path)
        yield "GET", f"{PREFIX}/me", self._me
        yield "GET", f"{PREFIX}/events", self._stream
        yield "POST", f"{PREFIX}/session", self._log_in
        yield "DELETE", f"{PREFIX}/session", self._log_out

    async def _me(self, http: Request, _names: Mapping[str, str]) -> Response:
        principal = await self._identify(http)
        may = [
            call.name
            for call in (*STORE_CALLS.values(), *SERVER_CALLS)
            if principal.token is None or {"admin", *call.scopes} & principal.token.scopes
        ]
        me = Me(
            name=principal.name,
            role=_role(principal),
            may=may,
            queues=principal.queues,
            instance=socket.gethostname(),
            version=self._version,
            has_session=principal.token is not None,
        )
        return json_response(me)

    async def _stream(self, http: Request, _names: Mapping[str, str]) -> Response:
        principal = await self._identify(http)
        check_scope(EVENTS, principal)
        return self._events.respond(http, principal)

    async def _log_in(self, http: Request, _names: Mapping[str, str]) -> Response:
        check_own_page(http.headers, http.method)
        length = http.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LOGIN_LIMIT:
            raise UsageError(f"a login has at most {LOGIN_LIMIT} bytes, and says how many")
        login = decode_login(await http.body())
        principal = await self._authenticator.identify_token(login.token.strip(), _address(http))
        assert principal.token is not None, "a token was given"
        return _with_cookie(http, login.token.strip())

    async def _log_out(self, http: Request, _names: Mapping[str, str]) -> Response:
        check_own_page(http.headers, http.method)
        return _with_cookie(http, "")

    async def _identify(self, http: Request) -> Principal:
        principal = await self._authenticator.identify(
            http.headers, _address(http), method=http.method
        )
        note_authenticated(http)
        return principal


def _role(principal: Principal) -> str:
    """Return the widest of the principal's scopes, as the pages name it."""
    if principal.is_admin:
        return "admin"
    scopes = () if principal.token is None else principal.token.scopes
    return "enqueue and cancel" if "enqueue" in scopes else "read only"


def _page(path: str) -> Endpoint:
    async def page(http: Request, names: Mapping[str, str]) -> Response:
        return load_pages().respond(http, path, names.get("version"))

    return page


def _with_cookie(http: Request, token: str) -> Response:
    cookie = session_cookie(http.headers, token, tls=http.url.scheme == "https")
    return Response(status_code=204, headers={"set-cookie": cookie, "cache-control": "no-store"})


def _address(http: Request) -> str:
    return http.client.host if http.client else ""
