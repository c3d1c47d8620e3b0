"""A virtual environment for the peers, created once per requirements file and then reused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python_with(requirements: str, interpreter: str = sys.executable) -> Path:
    """Return an interpreter with the packages of a requirements file, relative to this file."""
    wanted = HERE / requirements
    made_of = wanted.read_bytes() + sys.version.encode() + interpreter.encode()
    digest = hashlib.sha256(made_of).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "conveyor-stopping" / digest
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in _commands(folder, python, wanted, interpreter):
            subprocess.run(command, check=True, stdout=sys.stderr)
        complete.touch()
    return python


def _commands(folder: Path, python: Path, wanted: Path, interpreter: str) -> list[list[str]]:
    beside = Path("/.uv/bin/uv")
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv:
        return [
            [uv, "venv", "--quiet", "--python", interpreter, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)],
        ]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [
        [interpreter, "-m", "venv", str(folder)],
        [*install, "-r", str(wanted)],
    ]
