"""What the rules for commands come to on this machine: a user there is, and numbers of limits."""

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
# Between SIGXCPU, which a program may catch, and SIGKILL, in seconds of computing.
LAST_WORDS = 5


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """Who a program is to be and what limits it gets, as numbers; see guard/wire.py.

    `env` and `home` are what goes with another user: what the environment says of it, and where
    its programs start.
    """

    name: str = ""
    user: tuple[int, ...] = ()
    limits: tuple[int, ...] = ()
    env: dict[str, str] = {}
    home: str | None = None

    @property
    def other(self) -> tuple[int, int] | None:
        """User and group of another user than the one that this process is."""
        if not self.user or self.user[0] == os.geteuid():
            return None
        return self.user[0], self.user[1]


ALL_RIGHTS = Rights()


def rights_for(rules: CommandRules) -> Rights:
    """Return what a guard has to be told; UsageError if this process may not grant that."""
    limits: list[int] = []
    for field, _ in LIMITS.values():
        value = getattr(rules, field)
        if value is not None:
            limits += RESOURCES[field], value, value + (LAST_WORDS if field == "cpu" else 0)
    if limits or rules.user is not None:
        # What another program did not finish is not to fill this machine's disk.
        limits += resource.RLIMIT_CORE, 0, 0
    if rules.user is None:
        return Rights(limits=tuple(limits))
    account = _account(rules.user)
    return Rights(
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
    except (KeyError, OverflowError):
        raise UsageError(
            f"commands are to run as user {user!r}, whom this machine does not know: "
            "`getent passwd` lists those it does, `useradd` adds one"
        ) from None


def _ids(account: pwd.struct_passwd) -> tuple[int, ...]:
    if os.geteuid() == 0:
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        return account.pw_uid, account.pw_gid, *groups
    if os.getuid() == os.geteuid() == account.pw_uid:
        return account.pw_uid, os.getegid(), *os.getgroups()
    raise UsageError(
        f"commands are to run as user {account.pw_name!r}, which only root can arrange: start the "
        f"worker as root or as {account.pw_name!r} itself, or leave the user out"
    )
