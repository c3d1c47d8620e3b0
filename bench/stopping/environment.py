"""A virtual environment for the peers, created once per requirements file and then reused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python_with(requirements: str) -> Path:
    """Return an interpreter with the packages of a requirements file beside this file."""
    wanted = HERE / requirements
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "conveyor-stopping" / digest
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in _commands(folder, python, wanted):
            subprocess.run(command, check=True, stdout=sys.stderr)
        complete.touch()
    return python


def _commands(folder: Path, python: Path, wanted: Path) -> list[list[str]]:
    beside = Path("/.uv/bin/uv")
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv:
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)],
        ]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [*install, "-r", str(wanted)],
    ]
