"""Which user of this machine is at the other end of a connection over loopback."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

# Its columns: number, local address, remote address, state, two of queues and timers, retransmits,
# user. See proc_pid_net_tcp(5). Only Linux has them.
TABLES = {socket.AF_INET: "/proc/self/net/tcp", socket.AF_INET6: "/proc/self/net/tcp6"}
LOCAL, REMOTE, STATE, USER = 1, 2, 3, 7
# The only state in which an end surely has an owner: Linux shows one that is closed as root's.
ESTABLISHED = "01"


def knows_users() -> bool:
    """Whether this system says which user is at the other end of a connection, as Linux does."""
    return os.access(TABLES[socket.AF_INET], os.R_OK)


def is_own_user(connection: socket.socket) -> bool:
    """Whether the client is a process of this user or of root; False if the system cannot say."""
    try:
        table = Path(TABLES[connection.family]).read_text(encoding="ascii")
    except (KeyError, OSError):
        return False
    user = user_in(table, connection.getpeername(), connection.getsockname())
    return user in (0, os.geteuid())


def user_in(table: str, client: tuple[object, ...], server: tuple[object, ...]) -> int | None:
    """Return the user of the client's end; None unless that is open."""
    ends = [_encoded(str(client[0]), client[1]), _encoded(str(server[0]), server[1])]
    for line in table.splitlines():
        columns = line.split()
        if [columns[LOCAL], columns[REMOTE]] == ends and columns[STATE] == ESTABLISHED:
            return int(columns[USER])
    return None


def _encoded(host: str, port: object) -> str:
    """Return an address as the table has it: words of 32 bits in the byte order of the machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
