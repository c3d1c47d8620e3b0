"""The cookie of the dashboard's session: a token that scripts cannot read, and who may use it.

A browser sends a cookie with any request to this host, whoever caused it. SameSite=Strict keeps it
from other sites, but not from other ports and subdomains of this one. So a request with the cookie
must be from a page of this server, and one that changes something must have a header that only a
page of the same origin can add.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from ..errors import AccessError

# Sent by the dashboard with every request. A page of another origin cannot send it: a browser would
# ask this server for permission first (CORS), which it never gives.
PAGE_HEADER = "conveyor-dashboard"
SAFE_METHODS = frozenset({"GET", "HEAD"})
# In seconds. The token may expire or be revoked earlier, which ends the session.
SESSION_FOR = 12 * 3600
PREFIX = "conveyor_session"


def token_in_cookie(headers: Mapping[str, str], method: str) -> str | None:
    """Return the token in the session's cookie; None if there is none.

    AccessError if the request may have been caused by another page.
    """
    header = headers.get("cookie", "")
    if PREFIX not in header:
        return None
    try:
        morsel = SimpleCookie(header).get(cookie_name(headers))
    except CookieError:
        return None
    if morsel is None or not morsel.value:
        return None
    check_own_page(headers, method)
    return morsel.value


def check_own_page(headers: Mapping[str, str], method: str) -> None:
    """Raise AccessError unless a request was caused by a page of this server."""
    site = headers.get("sec-fetch-site")
    if site is not None and site.lower() not in ("same-origin", "none"):
        raise _foreign(f"with Sec-Fetch-Site: {site[:200]!r}")
    origin = headers.get("origin")
    # Behind a proxy, Host may be the server's own name. Then Sec-Fetch-Site decides, if it is sent.
    if origin is not None and site is None and _place(origin) != headers.get("host", "").lower():
        raise _foreign(f"of {origin[:200]!r}")
    if method not in SAFE_METHODS and PAGE_HEADER not in headers:
        raise _foreign(f"without the header {PAGE_HEADER}")


def session_cookie(headers: Mapping[str, str], token: str, *, tls: bool) -> str:
    """Return the header Set-Cookie that begins a session, or ends it if `token` is empty.

    It has no Path: the browser takes the path of the request, and so it works below any prefix.
    """
    secure = "; Secure" if tls or headers.get("x-forwarded-proto", "").lower() == "https" else ""
    lasts = SESSION_FOR if token else 0
    name = cookie_name(headers)
    return f"{name}={token}; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}"


def cookie_name(headers: Mapping[str, str]) -> str:
    """Return the cookie's name. Servers on several ports of a host share its cookies."""
    _, _, port = headers.get("host", "").rpartition(":")
    return f"{PREFIX}_{port}" if port.isdigit() else PREFIX


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _foreign(which: str) -> AccessError:
    return AccessError(
        f"a session of the dashboard is only for its own pages, here a request {which}: programs "
        "send a token as `Authorization: Bearer cvy_…`"
    )
