"""Closed standard streams are opened, for this process and for those that it starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import subprocess, sys
from conveyor.system.standard_streams import open_missing_streams
open_missing_streams()
print("out", flush=True)
print("err", file=sys.stderr, flush=True)
check = "import os; [os.fstat(number) for number in range(3)]"
sys.exit(subprocess.call([sys.executable, "-c", check]))
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_open_for_this_process_and_its_children(closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", PROGRAM]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
