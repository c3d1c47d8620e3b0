"""What a new process gives up before it becomes a program: who it is, and freedom from limits."""

from __future__ import annotations

import errno
import os
import resource
import stat

from .processes import no_new_privileges


def become_user(ids: list[int]) -> None:
    """Be another user for good, with that one's groups and no way back; OSError if any of it fails.

    `ids` are the user, the group and all groups. Only root can; the same user may stay it.
    """
    uid, gid, *groups = ids
    if os.geteuid() == 0:
        _give_pipes(uid, gid)
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    no_new_privileges()
    if {os.getuid(), os.geteuid()} != {uid} or {os.getgid(), os.getegid()} != {gid}:
        raise PermissionError(errno.EPERM, "it is still another user")
    if uid != 0 and _is_root_again():
        raise PermissionError(errno.EPERM, "it could become root again")


def set_limits(numbers: list[int]) -> None:
    """Set limits: a resource, the soft and the hard limit, and so on. None is ever raised."""
    for place in range(0, len(numbers), 3):
        which, soft, hard = numbers[place : place + 3]
        most = resource.getrlimit(which)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(which, (soft, hard))


def _give_pipes(uid: int, gid: int) -> None:
    # So that the program may open /dev/stdout and /dev/stderr, as it could if it were ours.
    for fd in (1, 2):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, gid)


def _is_root_again() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
