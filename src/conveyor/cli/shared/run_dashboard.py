"""Serves the dashboard beside a worker, from a thread: a job that blocks the worker's event loop
does not block the page on which an operator looks for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...client.app import Conveyor
from ...core.dashboard_address import AUTO, DEFAULT_PORT, LOCAL, OFF, DashboardAddress
from ...core.event_log import open_event_log
from ...errors import ConveyorError, UsageError
from ...settings import SERVERS, Settings
from ...system.peer_user import knows_users
from .output import print_stderr

if TYPE_CHECKING:
    from ...server.serve import Server

log = open_event_log("dashboard")

# How long the thread may take to end, in seconds: the worker's exit does not wait longer.
STOP_TIMEOUT = 1.0
# It belongs to uvicorn: only its level is set here.
UVICORN_LOG = "uvicorn.error"
NEEDED = ("starlette", "uvicorn", "httptools")
NOT_FOR_ALL = (
    "not served, because this system does not say which of its users connects, and any of them "
    "could run jobs: create a token with `conveyor token create NAME --scope admin`, pass "
    f"--dashboard {DEFAULT_PORT} to serve it to all of them, or off"
)


class RunDashboard:
    """The dashboard of an application's store. Call `check` before the worker begins.

    Unless `knows_users`, and without tokens, it is served only if that was asked for.
    """

    def __init__(
        self,
        belt: Conveyor,
        settings: Settings,
        *,
        knows_users: Callable[[], bool] = knows_users,
    ) -> None:
        self._belt = belt
        self._settings = settings
        self._address: DashboardAddress = settings["dashboard"]
        self._knows_users = knows_users

    def check(self) -> bool:
        """Whether it can be served; UsageError if it was asked for and cannot be."""
        if self._address == OFF:
            return False
        missing = next((name for name in NEEDED if find_spec(name) is None), None)
        if missing is None:
            # A server serves its own. Opening the store to ask it may take a while.
            return self._belt.url.partition(":")[0] not in SERVERS
        if self._address != AUTO:
            raise UsageError(
                f"the dashboard needs {missing}: install it with `pip install conveyor[server]`, "
                "or pass --dashboard off"
            )
        return False

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Serve it within the context. What goes wrong is said, and does not end the worker."""
        thread = _DashboardThread(self._belt, self._settings, knows_users=self._knows_users())
        thread.start()
        try:
            yield
        finally:
            await asyncio.to_thread(thread.stop)


class _DashboardThread(threading.Thread):
    def __init__(self, belt: Conveyor, settings: Settings, *, knows_users: bool) -> None:
        super().__init__(name="conveyor-dashboard", daemon=True)
        self._knows_users = knows_users
        self._belt = belt
        self._settings = settings
        self._lock = threading.Lock()
        self._stopped = False
        self._server: Server | None = None

    def run(self) -> None:
        try:
            self._serve()
        except UsageError as error:
            print_stderr(f"dashboard: {error}")
        except ConveyorError as error:
            print_stderr(f"dashboard: not served, {error}")
        except Exception:  # the worker goes on without it
            log.exception("dashboard.failed")

    def stop(self) -> None:
        """End it soon: streams and requests that wait are answered now."""
        with self._lock:
            self._stopped = True
            if self._server is not None:
                with suppress(RuntimeError):  # its event loop has ended
                    self._server.stop()
        self.join(STOP_TIMEOUT)

    def _serve(self) -> None:
        # Imported here because it is slow to import, and the worker need not wait for it.
        from ...server.serve import Bind, Server  # noqa: PLC0415
        from ...server.server_config import ServerConfig  # noqa: PLC0415

        # Its lines are about a server of its own; here there is one about the dashboard.
        logging.getLogger(UVICORN_LOG).setLevel(logging.WARNING)
        belt, settings = self._belt, self._settings
        address: DashboardAddress = settings["dashboard"]
        tokens = bool(belt.store.tokens(limit=1).result())
        if address == AUTO and not tokens and not self._knows_users:
            raise UsageError(NOT_FOR_ALL)
        server = Server(
            belt.store,
            Bind(host=address.host or LOCAL, port=address.port),
            tokens=tokens,
            config=ServerConfig(
                args_limit=int(settings["args_limit"]),
                masked_keys=tuple(settings["masked_keys"]),
                tasks=dict(belt.tasks),
                capacities={name: queue.capacity for name, queue in belt.queues.items()},
            ),
            has_maintenance=False,
            port_option="--dashboard",
            own_user_only=not tokens and self._knows_users,
        )
        listening, url = server.listen(or_any_port=address == AUTO)
        with self._lock:
            self._server = server
            if self._stopped:
                listening.close()
                return
        print_stderr(f"dashboard: {url}, {server.access_note}")
        asyncio.run(server.run(listening))
