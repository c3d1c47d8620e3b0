"""Ctrl-C in the middle of an enqueue, hundreds of times: nothing stays locked or half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from conveyor import Conveyor
from conveyor.store.sqlite.store import SqliteStore

INTERRUPTS = 300

# A blocking caller carries its own call out, so the signal strikes anywhere in the store's code.
PROGRAM = """
import signal, sys
from conveyor import Conveyor

belt = Conveyor(sys.argv[1] + "?durability=normal")
task = belt.task(name="noop")(len)
task.enqueue("first")
accepted, interrupts = [], 0
while interrupts < int(sys.argv[2]):
    try:
        print("again" if interrupts else "ready", flush=True)
        while True:
            accepted.append(task.enqueue("x").id)
            if len(accepted) % 20 == 0:
                belt.store.counts().result(10)
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
task.enqueue("last")
belt.close()
print("\\n".join(accepted))
"""


def test_an_interrupted_enqueue_leaves_the_store_intact(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    draw = random.Random(4711)
    command = [sys.executable, "-c", PROGRAM, str(path), str(INTERRUPTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        other = SqliteStore(path)
        for number in range(INTERRUPTS):
            # Some calls by another process in between: how many is what makes the moment random.
            for _ in range(draw.randrange(1, 6)):
                other.counts().result(10)
            process.send_signal(signal.SIGINT)
            if number < INTERRUPTS - 1:
                assert process.stdout.readline() == "again\n"
        accepted = set(process.stdout.read().split())
        assert process.wait(30) == 0
    assert other.check().result(30) == []
    other.close()
    belt = Conveyor(path)
    belt.task(name="noop")(len)
    ended = belt.work(timeout=120, keep=False)
    # A call that was interrupted may have happened all the same, but at most that one.
    assert len(accepted) + 2 <= ended <= len(accepted) + 2 + INTERRUPTS
    belt.close()
