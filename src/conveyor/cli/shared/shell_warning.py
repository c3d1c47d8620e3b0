"""Warns if a shell is PID 1 of the container, because it does not forward signals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .output import print_stderr

SHELLS = frozenset({"sh", "bash", "dash", "ash", "busybox"})


def describe_shell(parent: int, first: Sequence[str]) -> str | None:
    """Return the warning about a shell as PID 1, or None.

    `parent` is our parent's pid, `first` the command line of PID 1. Only shells with -c matter: the
    signals of an interactive shell are up to its user.
    """
    if parent != 1 or not first:
        return None
    shell, *options = first
    name = os.path.basename(shell).removeprefix("-")
    if name == "busybox" and options:
        name = options.pop(0)
    if name not in SHELLS or not _has_command_string(options):
        return None
    return (
        f"warning: PID 1 is `{name} -c`, which does not forward signals. `docker stop` and "
        "Kubernetes will wait for the grace period and then kill this process without a drain. "
        'Use the exec form, ["conveyor", "worker", ...], or `exec conveyor ...` in the script.'
    )


def _has_command_string(options: Sequence[str]) -> bool:
    for option in options:
        if not option.startswith("-") or option.startswith("--"):
            return False
        if "c" in option:
            return True
    return False


def warn_of_shell() -> None:
    """Print the warning if it applies to this process."""
    with suppress(OSError):  # there is no /proc
        text = Path("/proc/1/cmdline").read_text(errors="replace")
        message = describe_shell(os.getppid(), text.rstrip("\0").split("\0"))
        if message is not None:
            print_stderr(message)
