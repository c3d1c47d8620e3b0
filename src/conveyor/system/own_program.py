"""Builds the command lines of Conveyor's own Python processes, and the path that they import from.

The directory of the application, or what PYTHONPATH names, comes first on this process's path, and
a file in it, such as queue.py, would replace a module of the standard library. So these processes
import Conveyor from the standard library's own directories first; the rest comes after them.
"""

from __future__ import annotations

# Both are imported already when an interpreter starts, so that no other file can replace them.
import os
import sys

# `sys` is built in, so that importing it first is safe.
BOOT = """import sys
count = int(sys.argv[1])
path = sys.argv[2 : 2 + count]
del sys.argv[1 : 2 + count]
sys.path[:] = {own!r}
from {module} import main
"""
# A process that runs the application's code then imports what this process would, except for what
# the application imports of Conveyor.
USE_GIVEN_PATH = "from conveyor import Conveyor\nsys.path[:] = path\n"

# The directory that this package is in.
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# The standard library has three entries: a ZIP file, whether it exists or not, its directory, and
# that of its extension modules.
STANDARD_ZIP = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
STANDARD_ENTRIES = 3


def own_program(module: str, *arguments: str, runs_application: bool = False) -> list[str]:
    """Return the command that calls `main()` of a module of ours."""
    code = BOOT.format(own=own_path(sys.path), module=module)
    code += (USE_GIVEN_PATH if runs_application else "") + "main()"
    return [sys.executable, "-c", code, str(len(sys.path)), *sys.path, *arguments]


def own_path(given: list[str]) -> list[str]:
    """Return a path with the standard library first, then this package, then the rest."""
    ends = (number for number, each in enumerate(given) if each.endswith(STANDARD_ZIP))
    first = next(ends, len(given))
    after = first + STANDARD_ENTRIES
    return [*given[first:after], HOME, *given[after:], *given[:first]]


def application_path(given: list[str], *folders: str) -> list[str]:
    """Return a path with the folders of an application first, then PYTHONPATH, then the rest."""
    variable = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = [*folders, *(os.path.abspath(each) for each in variable if each)]
    found = set(wanted)
    return [*dict.fromkeys(wanted), *(each for each in given if each not in found)]
