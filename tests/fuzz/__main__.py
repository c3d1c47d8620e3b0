"""Fuzzes one target, or all: `python tests/fuzz NAME [--inputs N] [--seconds S] [--plain]`.

Without `--plain`, and where atheris is installed, inputs are guided by coverage. `all` runs each
target in a process of its own, `--jobs` of them at a time, and prints a line for each. A fault is
printed with its input. The exit code is 0 only if all inputs were tried and none was a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from harness import Target, fuzz, scratch_folder

# Of the names of faults that are planted; see planted.py.
PREFIX = "planted: "
# What both ways of fuzzing print at their end.
TRIED = re.compile(r"(?:inputs tried|stat::number_of_executed_units): +(\d+)")


def find(name: str) -> dict[str, Target]:
    """Import the targets and return those to fuzz; only now, so that they can be instrumented."""
    from planted import PLANTED
    from targets import TARGETS

    every = {**TARGETS, **{PREFIX + fault: target for fault, target in PLANTED.items()}}
    if name == "all":
        return TARGETS
    if name not in every:
        sys.exit(f"no target {name!r}; choose from: all, {', '.join(every)}")
    return {name: every[name]}


def fuzz_one(target: Target, given: argparse.Namespace) -> None:
    """Fuzz a target; with guidance, this ends the process."""
    if is_guided(given):
        from guided import fuzz_guided

        fuzz_guided(target, given.inputs, given.seconds, given.seed)
    tried = fuzz(target, given.inputs, seconds=given.seconds, seed=given.seed)
    print(f"inputs tried: {tried}")


def fuzz_each(targets: dict[str, Target], given: argparse.Namespace) -> list[str]:
    """Fuzz targets in forks of this process; return those that had a fault or too few inputs."""
    folder, waiting = scratch_folder(), list(targets)
    running: dict[int, tuple[str, float]] = {}
    failed: list[str] = []
    while waiting or running:
        while waiting and len(running) < given.jobs:
            name = waiting.pop(0)
            running[_fork(targets[name], given, folder)] = name, time.monotonic()
        pid, status = os.wait()
        name, begun = running.pop(pid)
        printed = (folder / str(pid)).read_text(errors="replace")
        tried = sum(int(number) for number in TRIED.findall(printed))
        took = time.monotonic() - begun
        if status or tried < given.inputs:
            failed.append(name)
            print(printed[-8000:])
        print(f"{name}: {tried:,} inputs in {took:.0f} s", flush=True)
    return failed


def _fork(target: Target, given: argparse.Namespace, folder: Path) -> int:
    """Return the process that fuzzes a target and prints into a file that has its number."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        with open(folder / str(os.getpid()), "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        tempfile.tempdir = str(folder)
        fuzz_one(target, given)
        code = 0
    except Exception:  # noqa: BLE001 - it is printed, and is this process's last act
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def is_guided(given: argparse.Namespace) -> bool:
    return not given.plain and find_spec("atheris") is not None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="Processes at the same time")
    given = parser.parse_args()
    if is_guided(given):
        from guided import instrumented

        targets = instrumented(lambda: find(given.name))
    else:
        targets = find(given.name)
    failed = fuzz_each(targets, given)
    print(f"{len(targets)} targets, {len(failed)} not done or at fault: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
