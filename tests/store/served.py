"""A store behind a real server, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

import uvicorn

from conveyor.core.clock import Clock
from conveyor.server.application import Application
from conveyor.server.auth import Authenticator
from conveyor.server.http_limits import LimitedHttpProtocol
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.store import HttpStore
from conveyor.store.protocol import Store


class Served(HttpStore):
    """The client; what it talks to closes with it."""

    def __init__(self, behind: Store, clock: Clock | None = None, *, token: str = "") -> None:
        self.behind = behind
        self.server = Serving(
            behind, tokens=bool(token), authenticator=None if token else OpenAuthenticator(behind)
        )
        super().__init__(self.server.url, token=token, clock=clock)

    def close(self) -> None:
        super().close()
        self.server.close()
        self.behind.close()


class OpenAuthenticator(Authenticator):
    """Lets everybody in, also when there are tokens: they are what a test is about."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, required=False)

    async def _requires_token(self) -> bool:
        return False


class PromptServer(uvicorn.Server):
    """uvicorn that stops within a moment; by itself it looks every 0.1 s whether to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        # What is still open would be found unclosed during some other test.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


class Serving:
    """A server without maintenance; a test does it by hand."""

    def __init__(
        self,
        store: Store,
        *,
        tokens: bool = False,
        config: ServerConfig | None = None,
        authenticator: Authenticator | None = None,
        protocol: type[LimitedHttpProtocol] = LimitedHttpProtocol,
    ) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.app = Application(store, tokens=tokens, config=config, authenticator=authenticator)
        uvicorn_config = uvicorn.Config(
            self.app,
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = PromptServer(uvicorn_config)
        self._server.config.load()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        self._ready.wait(60)

    def close(self) -> None:
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(self._end)
            self._thread.join(60)
        assert not self._thread.is_alive(), "the server does not stop"

    def _end(self) -> None:
        self.app.end_waiting()
        self._server.stopping.set()

    def _run(self, listening: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            # The socket listens already: who connects now is answered when it has begun.
            self._ready.set()
            await self._server.serve(sockets=[listening])

        with listening:
            asyncio.run(serve())
