"""Where a server listens: on no public address while there are no tokens."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from deployment import Deployment
from raw_http import RawClient, receive_all

from conveyor import UsageError
from conveyor.server.origin_guard import RESPONSE_HEADERS
from conveyor.server.serve import Bind, Server, check_bind
from conveyor.server.server_config import ServerConfig
from conveyor.store.memory.store import MemoryStore

PUBLIC = ("0.0.0.0", "::", "", "192.0.2.1", "jobs.example.com", "::ffff:0.0.0.0", "0", "localhost.")
HERE = ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST")


def serving(host: str, *, tokens: bool) -> Server:
    return Server(MemoryStore(), Bind(host=host, port=0), tokens=tokens, config=ServerConfig())


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="conveyor token create"):
        check_bind(Bind(host=host), tokens=False)
    check_bind(Bind(host=host), tokens=True)


@pytest.mark.parametrize("host", HERE)
def test_a_loopback_address_needs_no_token(host: str) -> None:
    check_bind(Bind(host=host), tokens=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_server_listens_on_every_loopback_address(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    listening, url = serving(host, tokens=False).listen()
    assert url.startswith("http://[::1]:" if host == "::1" else "http://")
    listening.close()


def test_a_loopback_name_that_resolves_to_another_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(*_args: Any, **_given: Any) -> Sequence[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    server = serving("localhost", tokens=False)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(UsageError, match=r"192\.0\.2\.1"):
        server.listen()


def test_the_command_refuses_a_public_address_and_explains_how_to_allow_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, tokens=False)
    process = deployment._start(
        "server",
        ["server", "--host", "0.0.0.0", "--port", "0"],
        {"CONVEYOR_URL": str(deployment.db)},
    )
    assert process.popen.wait(60) == 2
    assert "conveyor token create" in process.log.read_text()
    deployment.token("admin")
    deployment.server("--host", "0.0.0.0")
    assert "without TLS" in deployment.processes[-1].log.read_text()
    deployment.close()


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_every_response_tells_browsers_to_keep_it_from_pages(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.server_thread()
    ask = RawClient(deployment.url)
    invalid = ask.raw(b"nonsense\r\n\r\n")
    refused = receive_all(invalid).decode()
    invalid.close()
    for path in ("/health", "/openapi.json", "/queues", "/nothing"):
        headers = ask("GET", path).headers
        for name, value in RESPONSE_HEADERS:
            assert headers[name] == value
            assert f"{name}: {value}\r\n" in refused
    deployment.close()
