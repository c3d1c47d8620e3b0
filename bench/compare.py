"""Compare Conveyor with huey and taskiq in one run: `python bench/compare.py`.

Every case runs several times, each time in its own process. The cases alternate, so that a slow
moment of the machine affects all of them; the table shows medians. Trust the ratios; absolute times
depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import apsw
import cases

COLUMNS = (
    ("enqueue_per_s", "enqueue/s, one caller", 0),
    ("enqueue64_per_s", "enqueue/s, 64 coroutines", 0),
    ("drain_per_s", "drain/s", 0),
    ("through_per_s", "enqueue and run/s", 0),
    ("drain_cpu_us", "CPU µs/job", 1),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
)


def main() -> None:
    """Run all cases and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print_machine()
    names = list(cases.cases(Path()))
    results: dict[str, list[cases.Figures]] = {name: [] for name in names}
    for _ in range(given.rounds):
        for name in names:
            results[name].append(measure(name, given.jobs))
    print(f"\nMedians of {given.rounds} rounds of {given.jobs:,} jobs.\n")
    print_table({name: medians(rounds) for name, rounds in results.items()})


def measure(name: str, jobs: int) -> cases.Figures:
    """Run one case in its own process."""
    command = [sys.executable, cases.__file__, name, str(jobs)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if ran.returncode:
        raise SystemExit(f"{name} failed:\n{ran.stderr}")
    figures: cases.Figures = json.loads(ran.stdout)
    return figures


def medians(rounds: list[cases.Figures]) -> cases.Figures:
    """Return the median of each figure."""
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def print_machine() -> None:
    """Print the machine and the versions."""
    facts = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "temporary directory": tempfile.gettempdir().strip(os.sep),
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        **{name: version(name) for name in ("conveyor", "huey", "taskiq", "apsw", "msgspec")},
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))


def print_table(rows: dict[str, cases.Figures]) -> None:
    """Print a Markdown table."""
    print("| case | " + " | ".join(title for _, title, _ in COLUMNS) + " |")
    print("|---|" + "--:|" * len(COLUMNS))
    for name, figures in rows.items():
        shown = [
            f"{figures[key]:,.{digits}f}" if key in figures else "" for key, _, digits in COLUMNS
        ]
        print(f"| {name} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
