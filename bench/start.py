"""Measure the CPU cost of starting and idling: `python bench/start.py`.

It prints the CPU time of `import conveyor` and `conveyor --help` beside that of an empty Python
program, and that of a worker that is idle for a minute, including its sidecar process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = """
from conveyor import Conveyor

belt = Conveyor("jobs.db")


@belt.task
async def noop() -> None: ...
"""
SETTLE = 20.0


def main() -> None:
    """Print CPU milliseconds per start, and CPU seconds per minute of an idle worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to idle; 0 skips it")
    given = parser.parse_args()
    nothing = cpu_ms([sys.executable, "-c", "pass"], given.runs)
    print(f"python -c pass: {nothing:.0f} ms CPU")
    for name, command in {
        "import conveyor": [sys.executable, "-c", "import conveyor"],
        "import click": [sys.executable, "-c", "import click"],
        "conveyor --help": [sys.executable, "-m", "conveyor", "--help"],
    }.items():
        print(f"{name}: {cpu_ms(command, given.runs):.0f} ms CPU, including Python's own start")
    if given.idle:
        print(f"idle worker: {idle(given.idle):.3f} CPU s/min")


def cpu_ms(command: list[str], runs: int) -> float:
    """Return the median CPU time of a command, in milliseconds."""
    # Allow bytecode, which the first run writes.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    took: list[float] = []
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1000 * statistics.median(took[1:])


def idle(seconds: float) -> float:
    """Return the CPU seconds per minute of an idle worker."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder, "app.py").write_text(APP)
        command = [sys.executable, "-m", "conveyor", "worker", "app:belt"]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as worker:
            time.sleep(SETTLE)
            before = cpu_of_tree(worker.pid)
            time.sleep(seconds)
            after = cpu_of_tree(worker.pid)
            worker.terminate()
    return (after - before) * 60 / seconds


def cpu_of_tree(root: int) -> float:
    """Return the CPU seconds used by a process, its threads and its children (Linux)."""
    used = 0.0
    pids = [root]
    while pids:
        pid = pids.pop()
        for thread in os.listdir(f"/proc/{pid}/task"):
            task = Path(f"/proc/{pid}/task/{thread}")
            used += int((task / "schedstat").read_text().split()[0]) / 1e9
            pids += map(int, (task / "children").read_text().split())
    return used


if __name__ == "__main__":
    main()
