"""Resolves the rules for commands on this machine: user and group ids, and resource limits."""

from __future__ import annotations

import os
import pwd
import resource

import msgspec

from ..core.command_policy import LIMITS, CommandRules
from ..errors import UsageError

RESOURCES = {
    "memory": resource.RLIMIT_AS,
    "cpu": resource.RLIMIT_CPU,
    "file_size": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
}
# CPU seconds between SIGXCPU, which a program may catch, and SIGKILL.
CPU_KILL_DELAY = 5


class Privileges(msgspec.Struct, frozen=True, kw_only=True):
    """The user and the limits of a program, as numbers; see guard/wire.py.

    `env` and `home` belong to the user: its environment variables, and where its programs start.
    """

    name: str = ""
    user: tuple[int, ...] = ()
    limits: tuple[int, ...] = ()
    env: dict[str, str] = {}
    home: str | None = None

    @property
    def other_user(self) -> tuple[int, int] | None:
        """The user and group id, if they are another user's than this process's."""
        if not self.user or self.user[0] == os.geteuid():
            return None
        return self.user[0], self.user[1]


UNCHANGED = Privileges()


def resolve_privileges(rules: CommandRules) -> Privileges:
    """Return the privileges for commands; UsageError if this process cannot grant them."""
    limits: list[int] = []
    for field, _ in LIMITS.values():
        value = getattr(rules, field)
        if value is not None:
            limits += RESOURCES[field], value, value + (CPU_KILL_DELAY if field == "cpu" else 0)
    if limits or rules.user is not None:
        # Core dumps of restricted commands must not fill the disk.
        limits += resource.RLIMIT_CORE, 0, 0
    if rules.user is None:
        return Privileges(limits=tuple(limits))
    account = _account(rules.user)
    return Privileges(
        name=account.pw_name,
        user=_ids(account),
        limits=tuple(limits),
        env={
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell,
        },
        home=account.pw_dir if os.path.isdir(account.pw_dir) else "/",
    )


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        raise UsageError(
            f"cannot run commands as user {user!r}: this machine has no such user; "
            "`getent passwd` lists its users, `useradd` adds one"
        ) from None


def _ids(account: pwd.struct_passwd) -> tuple[int, ...]:
    if os.geteuid() == 0:
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        return account.pw_uid, account.pw_gid, *groups
    if os.getuid() == os.geteuid() == account.pw_uid:
        return account.pw_uid, os.getegid(), *os.getgroups()
    raise UsageError(
        f"cannot run commands as user {account.pw_name!r}: only root can; start the worker as "
        f"root or as {account.pw_name!r}, or omit the user"
    )
