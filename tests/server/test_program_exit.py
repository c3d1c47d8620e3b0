"""A program that ends without closing its connection to a server ends in silence."""

from __future__ import annotations

import subprocess
import sys

from served import Serving

from conveyor.store.protocol import Store

PROGRAM = """
import os, sys
from conveyor import Conveyor

belt = Conveyor(sys.argv[1])

@belt.task
def work() -> int:
    return 1

job = work.enqueue()
belt.work()
assert job.result(timeout=60) == 1
"""
FORKED = """
if (child := os.fork()) == 0:
    sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert work.enqueue().refresh().state == "available"
"""


def run_program(store: Store, program: str) -> subprocess.CompletedProcess[str]:
    serving = Serving(store, tokens=False)
    command = [sys.executable, "-c", program, serving.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    serving.close()
    return ran


def test_a_program_that_does_not_close_its_store_ends_in_silence(store: Store) -> None:
    ran = run_program(store, PROGRAM)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_forked_child_that_ends_leaves_its_parent_the_connection(store: Store) -> None:
    ran = run_program(store, PROGRAM + FORKED)
    assert ran.returncode == 0, ran.stderr
