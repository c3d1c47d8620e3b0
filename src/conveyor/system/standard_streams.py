"""Opens the standard streams that are closed, so that no other file gets their descriptors."""

from __future__ import annotations

import os
import sys


def open_missing_streams() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that is closed.

    Otherwise the next file or socket would be descriptor 0, 1 or 2, which programs inherit and
    which whoever prints writes to. Call it before anything is opened.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free one: this number
            os.set_inheritable(opened, True)  # noqa: FBT003 - the only way to call it
            if getattr(sys, name) is None:
                stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115 - kept
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
