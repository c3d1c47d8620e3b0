"""Builds the command lines of Conveyor's own Python processes.

The directory of the application comes first on this process's path, and a file in it, such as
queue.py, would replace a module of the standard library. So these processes import Conveyor from
the interpreter's own path first; what only this process's path has comes after it.
"""

from __future__ import annotations

import sys

# `sys` is built in, so that importing it first is safe.
BOOT = """import sys
count = int(sys.argv[1])
path = sys.argv[2 : 2 + count]
del sys.argv[1 : 2 + count]
sys.path[:] = [*filter(None, sys.path), *path]
from {module} import main
"""
# A process that runs the application's code then imports what this process would, except for what
# the application imports of Conveyor.
USE_GIVEN_PATH = "from conveyor import Conveyor\nsys.path[:] = path\n"


def own_program(module: str, *arguments: str, runs_application: bool = False) -> list[str]:
    """Return the command that calls `main()` of a module of ours."""
    code = BOOT.format(module=module) + (USE_GIVEN_PATH if runs_application else "") + "main()"
    return [sys.executable, "-c", code, str(len(sys.path)), *sys.path, *arguments]
