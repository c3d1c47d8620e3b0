"""Protects a server without tokens from web pages: the browser would send their requests to it.

A page can make the browser on this machine send requests to 127.0.0.1. With a host name of its own
that is made to resolve to 127.0.0.1 (DNS rebinding) it can even read the answers. A browser sends
the origin of the page (Origin) and the host name of the server (Host).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..errors import AccessError


def check_local_origin(headers: Mapping[str, str]) -> None:
    """Raise AccessError unless the request is to this machine and not from a foreign web page."""
    host = headers.get("host", "")
    if host and not is_loopback(_host_name(host)):
        raise AccessError(
            "this server requires no token, so it accepts only requests to this machine, not to "
            f"{host[:200]!r}: use 127.0.0.1 or localhost, or create a token with "
            "`conveyor token create`"
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise AccessError(
            "this server requires no token, so it accepts no requests from web pages, here of "
            f"{origin[:200]!r}"
        )


@lru_cache(maxsize=100)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
