"""Hides an environment variable from /proc, where every process of the same user can read it."""

from __future__ import annotations

import ctypes
import os
import sys


def hide_variable(name: str) -> None:
    """Overwrite a variable in what /proc/PID/environ shows of this process; os.environ keeps it.

    The kernel shows the memory that the process got when it was started, whatever becomes of its
    variables. Call it before there are other threads. Elsewhere than on Linux it does nothing.
    """
    value = os.environ.get(name)
    if value is None or sys.platform != "linux":
        return
    find = ctypes.CDLL(None).getenv
    find.restype = ctypes.c_void_p
    address = find(os.fsencode(name))
    if address:
        ctypes.memset(address, 0, len(os.fsencode(value)))
    os.environ[name] = value  # a copy elsewhere
