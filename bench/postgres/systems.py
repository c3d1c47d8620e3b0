"""The systems that are compared: how to call each of them, with its packages installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "stopping"))

from environment import python_with  # noqa: E402 - beside the benchmark of stopping

NAMES = ("insert", "conveyor", "pgqueuer", "procrastinate", "chancy", "oban", "graphile")
# Where a system needs a newer Python than the one that runs this.
NEWER = {"oban": ("python3.14", "python3.13", "python3.12")}


class MissingError(Exception):
    """A system cannot be run on this machine."""


@dataclass(frozen=True)
class System:
    """One system: the commands that produce and that work, and how many jobs it is given."""

    name: str
    producer: list[str]
    worker: list[str]
    # Its share of --jobs when it drains: slow systems need not run for minutes.
    drained: float
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_queue(self) -> bool:
        return bool(self.worker)


def find(name: str) -> System:
    """Return a system, installing it if need be; MissingError if that is not possible."""
    if name == "graphile":
        return _graphile()
    module = f"with_{name}"
    python = sys.executable
    if name not in ("conveyor", "insert"):
        python = str(python_with(str(HERE / f"requirements-{name}.txt"), _interpreter(name)))
    producer = [python, str(HERE / "producer.py"), module]
    told = subprocess.run(
        [*producer, "worker", "0"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"BENCH_PG": os.environ["BENCH_ANY"]},
    )
    worker, drained = json.loads(told.stdout)
    return System(name, producer, worker or [], drained)


def _interpreter(name: str) -> str:
    wanted = NEWER.get(name)
    if wanted is None:
        return sys.executable
    for each in wanted:
        found = shutil.which(each)
        if (
            found
            and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode
        ):
            return found
    raise MissingError(f"{name} needs one of {', '.join(wanted)}")


def _graphile() -> System:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingError("graphile needs node and npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "conveyor-bench-node"
    if not (folder / "node_modules" / "graphile-worker").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "package.json", folder)
        install = [npm, "install", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(install, check=True, cwd=folder, stdout=sys.stderr)
    command = [node, str(HERE / "peers" / "with_graphile.js")]
    return System(
        "graphile",
        command,
        [*command, "worker", "0"],
        3,
        {"NODE_PATH": str(folder / "node_modules")},
    )
