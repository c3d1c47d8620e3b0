"""What one call of the HTTP API is: its address, its scopes, its request and its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from ...core.access import Scope
from .payloads import EmptyPayload, Payload

PREFIX = "/api/v1"
JSON = "application/json"
MSGPACK = "application/vnd.msgpack"
# In the response with a page of a list, unless it is the last one.
CURSOR_HEADER = "Next-Cursor"
# What is not percent-encoded in it: printable ASCII, except the space and the percent sign.
CURSOR_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

Method = Literal["GET", "POST", "PUT", "DELETE"]

SMALL_BODY, LARGE_BODY = 1 << 20, 1 << 40  # bytes

ENQUEUE: tuple[Scope, ...] = ("enqueue",)
READ: tuple[Scope, ...] = ("read",)
READ_OR_ENQUEUE: tuple[Scope, ...] = ("read", "enqueue")
AGENT: tuple[Scope, ...] = ("agent",)
ADMIN_ONLY: tuple[Scope, ...] = ()
ENQUEUE_OR_AGENT: tuple[Scope, ...] = ("enqueue", "agent")
ANY: tuple[Scope, ...] = ("enqueue", "read", "agent")


class ApiCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call. A token needs one of `scopes` to make it; "admin" may make every call.

    `request` is the type of the query or body. `response` is the type of the answer; `encode` turns
    the store's answer into it. A call is `raw` if its request body or its response is bytes instead
    of JSON; the parameters of a raw request are in the query. With `accepts_msgpack` the body may
    be MessagePack, which carries bytes without the third that base64 adds. Beside the server's
    limit, a body without a list has at most `body_limit` bytes.

    An `idempotent` call is repeated when its answer was lost. `problems` are the codes of its own
    errors, see problems.py. `audit_name` is what the audit log calls it; "" is not audited.

    A list with a `cursor` is returned page by page. While there are more entries, the header
    Next-Cursor has this field of the last one, to be sent as `before` or `after`. A list that
    `is_search` looks at a limited number of entries: its page may be empty, and the header is then
    where it stopped.
    """

    name: str
    method: Method
    path: str
    scopes: tuple[Scope, ...]
    summary: str
    request: type[Payload] = EmptyPayload
    response: Any = None
    encode: Callable[[Any], Any] | None = None
    idempotent: bool = False
    raw: Literal["", "request", "response"] = ""
    accepts_msgpack: bool = False
    body_limit: int = SMALL_BODY
    problems: tuple[str, ...] = ()
    audit_name: str = ""
    cursor: Literal["", "seq", "id", "name"] = ""
    is_search: bool = False

    @property
    def in_query(self) -> bool:
        """Whether the request is in the query instead of the body."""
        return self.method in ("GET", "DELETE") or self.raw == "request"
