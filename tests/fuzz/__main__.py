"""Fuzzes one target, or all: `python tests/fuzz NAME [--inputs N] [--seconds S] [--plain]`.

Without `--plain`, and where atheris is installed, inputs are guided by coverage; `all` runs each
target in a process of its own. A fault is printed with its input, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec

from harness import Target, fuzz

# Of the names of faults that are planted; see planted.py.
PREFIX = "planted: "


def load(name: str) -> Target:
    """Import the targets and return one of them; only now, so that they can be instrumented."""
    from planted import PLANTED
    from targets import TARGETS

    if name.startswith(PREFIX):
        return PLANTED[name.removeprefix(PREFIX)]
    if name not in TARGETS:
        sys.exit(f"no target {name!r}; choose from: {', '.join(TARGETS)}")
    return TARGETS[name]


def fuzz_all(options: list[str]) -> int:
    from targets import TARGETS

    failed = [
        name
        for name in TARGETS
        if subprocess.run([sys.executable, __file__, name, *options], check=False).returncode
    ]
    print(f"{len(TARGETS)} targets, {len(failed)} with a fault: {', '.join(failed)}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    if given.name == "all":
        return fuzz_all(sys.argv[2:])
    if not given.plain and find_spec("atheris") is not None:
        from guided import fuzz_guided

        fuzz_guided(lambda: load(given.name), given.inputs, given.seconds, given.seed)
    tried = fuzz(load(given.name), given.inputs, seconds=given.seconds, seed=given.seed)
    print(f"{given.name}: {tried:,} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
