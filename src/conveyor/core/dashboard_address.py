"""Where `conveyor run` serves the dashboard: the setting `dashboard`."""

from __future__ import annotations

import msgspec

from ..errors import UsageError

LOCAL = "127.0.0.1"
# No service is registered for it, and systems do not give it to clients.
DEFAULT_PORT = 7410
LARGEST_PORT = 65535


class DashboardAddress(msgspec.Struct, frozen=True):
    """A host and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address as it is set."""
        names = {AUTO: "auto", OFF: "off"}
        host = f"[{self.host}]" if ":" in self.host else self.host
        return names.get(self, f"{host}:{self.port}")


# This machine's port 7410, or any free one if that is taken: so two can run side by side.
AUTO = DashboardAddress("", DEFAULT_PORT)
OFF = DashboardAddress("", 0)


def parse_dashboard(text: str) -> DashboardAddress:
    """Return the address in "auto", "off", "PORT" or "HOST:PORT"; UsageError for anything else."""
    if text == "auto":
        return AUTO
    if text == "off":
        return OFF
    host, colon, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > LARGEST_PORT or (colon and not host):
        raise UsageError(
            "must be auto, off, a port from 0 to 65535, or HOST:PORT like 0.0.0.0:8080, "
            f"got {text[:200]!r}"
        )
    return DashboardAddress(host.strip("[]") if colon else LOCAL, int(port))
