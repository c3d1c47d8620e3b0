"""Which user is at the other end of a connection over loopback."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from conveyor.system.peer_user import is_own_user, user_in

# bash can connect, and is executable for every user.
CONNECT = "exec 3<>/dev/tcp/127.0.0.1/$0; read"


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_process_of_the_own_user_is_let_in(family: socket.AddressFamily, host: str) -> None:
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]),
    ):
        accepted, _ = server.accept()
        with accepted:
            assert is_own_user(accepted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_is_not_let_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with subprocess.Popen(
            ["bash", "-c", CONNECT, port], stdin=subprocess.PIPE, user=65534, cwd="/"
        ) as other:
            accepted, _ = server.accept()
            with accepted:
                assert not is_own_user(accepted)
            assert other.stdin is not None
            other.stdin.close()


def test_a_connection_that_is_closed_is_nobody_s() -> None:
    table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    assert user_in(table, ("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_an_address_is_found_as_linux_writes_it() -> None:
    line = "   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000  0 9"
    assert user_in(line, ("127.0.0.1", 40000), ("127.0.0.1", 8080)) == 1000
    assert user_in(line, ("127.0.0.1", 8080), ("127.0.0.1", 40000)) is None
