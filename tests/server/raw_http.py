"""Sends plain HTTP requests to a server, without our client."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from conveyor.core.access import issue_token
from conveyor.core.job import JobRecord, NewJob
from conveyor.store.http.api import PREFIX
from conveyor.store.http.problems import MEDIA
from conveyor.store.messages import Claimant, Want
from conveyor.store.protocol import Store


class RawResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)

    def is_problem(self, status: int, code: str) -> bool:
        """Return True if this is a valid problem, or raise AssertionError."""
        assert self.status == status, self
        assert self.headers["content-type"] == MEDIA
        found = self.data
        assert (found["status"], found["code"]) == (status, code)
        assert found["title"]
        assert found["detail"]
        assert "Traceback" not in self.text
        assert ".py" not in self.text
        return True


class RawClient:
    """Makes requests, with or without a token."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 0)
        self._token = token

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> RawResponse:
        sent: dict[str, str] = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data: Any = chunks
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        line = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            line.request(
                method,
                PREFIX + path,
                data,
                {**sent, **(headers or {})},
                encode_chunked=chunks is not None,
            )
            came = line.getresponse()
            named = {name.lower(): value for name, value in came.getheaders()}
            endless = named.get("content-type") == "application/x-ndjson"
            text = came.readline() if endless else came.read()
            return RawResponse(came.status, named, text.decode())
        finally:
            line.close()

    def raw(self, data: bytes = b"", *, seconds: float = 20.0) -> socket.socket:
        """Open a connection and send data that may be invalid HTTP."""
        line = socket.create_connection(self.address, timeout=seconds)
        line.sendall(data)
        return line


def make_token(store: Store, *scopes: str, queues: Iterable[str] = (), **given: Any) -> str:
    """Create a token in the store."""
    text, token = issue_token("-".join(scopes), scopes, tuple(queues), now=store.now(), **given)
    store.add_token(token).result()
    return text


def receive_all(line: socket.socket) -> bytes:
    """Return all data until the other side closes."""
    parts: list[bytes] = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


WORKER: dict[str, Any] = {
    "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0, "started_at": 1.0, "slots": 1,
    "queues": ["mine", "other"],
}  # fmt: skip


def put(store: Store, job_id: str, queue: str) -> None:
    store.insert([NewJob(id=job_id, task="t", queue=queue)]).result()


def claim(store: Store, queue: str, worker: str) -> JobRecord:
    claimant = Claimant(worker)
    [job] = store.claim([Want(queue, 1)], claimant, limit=1).result().jobs
    return job
