"""Which user is at the other end of a connection over loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from conveyor.system.peer_user import is_own_user, knows_users, user_in

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


def test_who_has_closed_the_connection_is_not_let_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"POST / HTTP/1.1\r\n\r\n")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(4) == b"POST"
            assert not is_own_user(accepted)


def test_a_closed_end_does_not_hide_the_open_one_after_it() -> None:
    line = "   1: 0100007F:9C40 0100007F:1F90 {} 00000000:00000000 00:00000000 00000000  {}  0 9"
    ends = ("127.0.0.1", 40000), ("127.0.0.1", 8080)
    closed = [line.format(f"{state:02X}", 0) for state in range(2, 13)]
    assert user_in("\n".join(closed), *ends) is None
    assert user_in("\n".join([*closed, line.format("01", 1000)]), *ends) == 1000


def test_a_system_without_the_tables_is_not_asked() -> None:
    assert knows_users() == Path("/proc/self/net/tcp").exists()
    one, other = socket.socketpair()
    with one, other:
        assert not is_own_user(one)


def test_a_connection_that_is_closed_is_nobody_s() -> None:
    table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    assert user_in(table, ("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_an_address_is_found_as_linux_writes_it() -> None:
    line = "   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000  0 9"
    assert user_in(line, ("127.0.0.1", 40000), ("127.0.0.1", 8080)) == 1000
    assert user_in(line, ("127.0.0.1", 8080), ("127.0.0.1", 40000)) is None
