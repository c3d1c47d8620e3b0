"""Protects a server without tokens from web pages: the browser would send their requests to it.

A page can make the browser on this machine send requests to 127.0.0.1. With a host name of its own
that is made to resolve to 127.0.0.1 (DNS rebinding) it can even read the answers. A browser sends
the origin of the page (Origin), except with simple GET requests, how the page is related to the
server (Sec-Fetch-Site), and the host name of the server (Host).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.host_names import host_name, is_loopback
from ..errors import AccessError

# Sent with every response: a browser must not guess its type, or hand it to a page of another
# origin.
RESPONSE_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
)
# Sent with every response that is no page: a browser must not show it within another page, or run
# anything in it.
DATA_POLICY = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
# "none": the user typed the address. A page of another port of this machine is "same-site".
OWN_SITES = frozenset({"same-origin", "none"})


def check_local_origin(headers: Mapping[str, str]) -> None:
    """Raise AccessError unless the request is to this machine and not from a foreign web page."""
    host = headers.get("host", "")
    if host and not is_loopback(host_name(host)):
        raise AccessError(
            "this server requires no token, so it accepts only requests to this machine, not to "
            f"{host[:200]!r}: use 127.0.0.1 or localhost, or create a token with "
            "`conveyor token create`"
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise _from_page(f"of {origin[:200]!r}")
    site = headers.get("sec-fetch-site")
    if site is not None and site.lower() not in OWN_SITES:
        raise _from_page(f"with Sec-Fetch-Site: {site[:200]!r}")


def _from_page(which: str) -> AccessError:
    return AccessError(
        f"this server requires no token, so it accepts no requests from web pages, here {which}"
    )
