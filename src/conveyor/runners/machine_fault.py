"""Tells a fault of this machine, which prevents the start of a job, from a fault of the job."""

from __future__ import annotations

import errno

import msgspec

# What a full disk, a read-only or broken file system, and exhausted memory, processes or
# descriptors raise. ESTALE: a directory that is gone from a network file system.
MACHINE_ERRORS = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
        errno.ESTALE,
    }
)
# What `threading` raises for EAGAIN.
NO_THREAD = "can't start new thread"


class MachineFault(msgspec.Struct, frozen=True, tag="machine_fault"):
    """The job's code did not start, because of this machine. The attempt does not count."""

    reason: str


class MachineError(OSError):
    """No job of this kind could start here, whatever the errno says."""


def machine_fault(error: BaseException | None) -> MachineFault | None:
    """Return the fault that an error before the job's code shows; None if it is the job's own."""
    match error:
        case MachineError() | MemoryError():
            is_fault = True
        case OSError():
            is_fault = error.errno in MACHINE_ERRORS
        case RuntimeError():
            is_fault = NO_THREAD in str(error)
        case _:
            is_fault = False
    return MachineFault(str(error) or type(error).__name__) if is_fault else None
