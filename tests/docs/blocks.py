"""Runs the code blocks of a document from top to bottom, and compares their output.

python: a first line like `# app.py` names a file to write. Any other block is run, and the comment
after each `print(...)` must equal its output. toml: a file to write. console: a line after `$ ` is
run by a shell, with `&` in the background; the lines below are its output, where `…` matches
anything. Blocks of other languages must be generated. Each local port that a document names is
replaced by a free one, and the address of a PostgreSQL database by that of an empty one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from reserved_port import ReservedPort

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- generated: \w+ -->.*?<!-- end -->", re.DOTALL)
NAMED = re.compile(r"# ([\w.]+\.(?:py|toml))\n")
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+|(?<=--metrics-port )\d+")
POSTGRES = "postgresql://app@db.example.com/app"
TIMEOUT = 60
# Commands that other tests cover, or that run these tests.
RUN_ELSEWHERE = ("./test", "pip install .", ".venv/bin/python examples/buildfarm.py --short")


class Block(NamedTuple):
    """A fenced code block."""

    line: int
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a document that are not generated."""
    text = GENERATED.sub(lambda found: "\n" * found.group().count("\n"), path.read_text())
    return [
        Block(text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in FENCE.finditer(text)
    ]


class Reader:
    """Follows a document in an empty directory, as a reader would."""

    def __init__(self, folder: Path, database: str = "", socket: str = "") -> None:
        self.folder = folder
        self._database = database
        self.background: list[subprocess.Popen[str]] = []
        self._ports: dict[str, ReservedPort] = {}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            **{name: text for name, text in os.environ.items() if "CONVEYOR" not in name},
            "PATH": path,
            "STDLIB_FOLDER": str(folder / "stdlib-run"),
            **({"PGHOST": socket} if socket else {}),
        }

    def follow(self, block: Block) -> None:
        """Write the file of a block, or run it."""
        text = block.text.replace(POSTGRES, self._database or POSTGRES)
        block = block._replace(text=PORT.sub(self._port, text))
        named = NAMED.match(block.text)
        if named and block.language in ("python", "toml"):
            (self.folder / named[1]).write_text(block.text)
        elif block.language == "python":
            self._run_python(block.text)
        elif block.language == "console":
            for command, expected in _commands(block.text):
                self._run_command(command, expected)
        else:
            raise AssertionError(f"cannot check a block of language {block.language!r}")

    def close(self) -> None:
        """Stop the background processes, which must exit with 0."""
        for process in self.background:
            process.send_signal(signal.SIGTERM)
        for process in self.background:
            process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0
        for port in self._ports.values():
            port.close()

    def _port(self, named: re.Match[str]) -> str:
        if named[0] not in self._ports:
            self._ports[named[0]] = ReservedPort()
        return str(self._ports[named[0]].number)

    def _run_python(self, text: str) -> None:
        command = [sys.executable, "-W", "error", "-c", text]
        printed = self._output(command)
        assert _lines(PRINTED.findall(text)) == _lines(printed.splitlines())

    def _run_command(self, command: str, expected: str) -> None:
        if command.endswith("&"):
            shell = ["sh", "-c", f"exec {command.rstrip('& ')}"]
            started = subprocess.Popen(
                shell, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True
            )
            self.background.append(started)
            assert started.stderr is not None
            printed = started.stderr.readline()
            assert matches(printed, expected), printed
            return
        is_main_job = command == "./run"
        if is_main_job:
            command = f"COLUMNS=100 python {ROOT / 'examples' / 'stdlib.py'} --modules 5"
        if command not in RUN_ELSEWHERE:
            printed = self._output(["sh", "-c", command])
            if is_main_job:
                printed, expected = _without_numbers(printed), _without_numbers(expected)
            assert matches(printed, expected), f"$ {command}\n{printed}"

    def _output(self, command: list[str]) -> str:
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}{ran.stderr}"
        return ran.stdout


def matches(printed: str, expected: str) -> bool:
    """Return whether output matches: `…` stands for any text, alone on a line for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in _lines(expected.splitlines())
    )
    return (
        re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed.splitlines())))
        is not None
    )


def _without_numbers(text: str) -> str:
    """Return text without numbers and column widths, which differ from run to run."""
    text = re.sub(r"\d[\d,.:/]*", "0", text)
    return re.sub(r"([━─ ])\1*", r"\1", text)


def _lines(lines: list[str]) -> list[str]:
    return [line.rstrip() for line in lines]


def _commands(text: str) -> list[tuple[str, str]]:
    _, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    return [
        (command, expected) for command, _, expected in (part.partition("\n") for part in parts)
    ]
