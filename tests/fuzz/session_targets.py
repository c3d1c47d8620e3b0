"""What the server decodes for the session of its dashboard: a login, and a cookie."""

from __future__ import annotations

import msgspec
from harness import Target

from conveyor.errors import AccessError, UsageError
from conveyor.server.dashboard.endpoints import decode_login
from conveyor.server.session_cookie import token_in_cookie

COOKIE = b"conveyor_session_80=cvy_a_b\nlocalhost:80\nhttp://localhost:80"


def decode_session(data: bytes) -> None:
    cookie, host, origin = [*data.decode("latin-1").split("\n"), "", "", ""][:3]
    given = {"cookie": cookie, "host": host, "origin": origin}
    token_in_cookie({name: value for name, value in given.items() if value}, "GET")


def session_targets() -> list[Target]:
    """Return the targets of the session."""
    return [
        Target("cookie of a session", decode_session, [COOKIE], (AccessError,)),
        Target("login", decode_login, [b'{"token":"cvy_a_b"}'], (UsageError,), msgspec.json.encode),
    ]
