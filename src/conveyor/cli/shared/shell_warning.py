"""Warns of a shell that stands between a container and its worker, and keeps signals to itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .output import print_stderr

SHELLS = frozenset({"sh", "bash", "dash", "ash", "busybox"})


def warning(parent: int, first: Sequence[str]) -> str | None:
    """Return what is to be said of a shell as PID 1, or None.

    `parent` is our parent's pid, `first` the command line of PID 1. Only a shell with -c is meant:
    in one that somebody types into, signals are that person's affair.
    """
    if parent != 1 or not first:
        return None
    shell, *options = first
    name = os.path.basename(shell).removeprefix("-")
    if name == "busybox" and options:
        name = options.pop(0)
    if name not in SHELLS or not _runs_a_text(options):
        return None
    return (
        f"warning: PID 1 is `{name} -c`, which does not forward signals. `docker stop` and "
        "Kubernetes will wait for the grace period and then kill this process without a drain. "
        'Use the exec form, ["conveyor", "worker", ...], or `exec conveyor ...` in the script.'
    )


def _runs_a_text(options: Sequence[str]) -> bool:
    for option in options:
        if not option.startswith("-") or option.startswith("--"):
            return False
        if "c" in option:
            return True
    return False


def warn_of_shell() -> None:
    """Say what there is to say of this process's parent."""
    with suppress(OSError):  # there is no /proc
        text = Path("/proc/1/cmdline").read_text(errors="replace")
        said = warning(os.getppid(), text.rstrip("\0").split("\0"))
        if said is not None:
            print_stderr(said)
