"""What a new process gives up before it executes a program: its user, and unlimited resources."""

from __future__ import annotations

import errno
import os
import resource
import stat

from .processes import forbid_new_privileges


def become_user(ids: list[int]) -> None:
    """Become another user irrevocably, with that user's groups; OSError if any step fails.

    `ids` are the user, the group and all groups. Only root can change the user.
    """
    uid, gid, *groups = ids
    if os.geteuid() == 0:
        _give_pipes(uid, gid)
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    forbid_new_privileges()
    if {os.getuid(), os.geteuid()} != {uid} or {os.getgid(), os.getegid()} != {gid}:
        raise PermissionError(errno.EPERM, "the user did not change")
    if uid != 0 and _can_become_root():
        raise PermissionError(errno.EPERM, "the process could become root again")


def set_limits(numbers: list[int]) -> None:
    """Set limits, given as triples of resource, soft and hard limit. None is ever raised."""
    for start in range(0, len(numbers), 3):
        which, soft, hard = numbers[start : start + 3]
        current = resource.getrlimit(which)[1]
        if current != resource.RLIM_INFINITY:
            soft, hard = min(soft, current), min(hard, current)
        resource.setrlimit(which, (soft, hard))


def _give_pipes(uid: int, gid: int) -> None:
    # So that the program can open /dev/stdout and /dev/stderr.
    for fd in (1, 2):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, gid)


def _can_become_root() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
