"""Every command, on a terminal, with hostile text in every place: only text comes out, and ours."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unicodedata import category

import click
import hostile_store
import pytest
from hostile_store import EVIL, FILE, FINGERPRINT
from shell import Command

from conveyor import Conveyor
from conveyor.cli.main import COMMANDS, cli

# Nothing of ours has it, so a name that has it was not escaped.
COLOUR = "\x1b[38;5;199m"
# The colours of tables, and what else progress is drawn with.
OURS = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS = re.compile(r"\x1b\[\?25[lh]|\x1b\[2?K|\x1b\[1A|\r")
# What a job writes has lines.
SHOW_OUTPUT = ("logs", "exec")
JOBS = ("evil-job", "failed-job")
# Arguments that click and our own checks refuse, and quote.
REFUSED = [
    [EVIL],
    ["ps", f"--{EVIL}"],
    ["ps", "--state", EVIL],
    ["ps", "--limit", EVIL],
    ["logs", "evil-job", "--stream", EVIL],
    ["show", EVIL],
    ["ps", "--url", f"http://{EVIL}"],
    ["ps", "--url", f"{EVIL}.db"],
]
# What shows something, by command; the services are below, and in test_hostile_services.py.
CALLS: dict[str, list[list[str]]] = {
    "exec": [
        ["exec", "-q", EVIL, "--", "printf", EVIL.replace(COLOUR, "")],
        ["exec", "--raw", "--", "printf", "raw"],
        ["exec", "--", EVIL],
    ],
    "enqueue": [
        ["enqueue", EVIL, f"{EVIL}=1"],
        ["enqueue", EVIL, EVIL],
        ["enqueue", EVIL, "--args", EVIL],
        ["enqueue", EVIL, "--app", f"{EVIL}:belt"],
        ["enqueue", "x", "--app", "evil_app:belt"],
    ],
    "ps": [["ps"], ["ps", "--json"], ["ps", "--queue", EVIL]],
    "show": [["show", job] for job in JOBS] + [["show", "failed-job", "--json"]],
    "why": [["why", job] for job in (*JOBS, "waiting-job")] + [["why", "evil-job", "--json"]],
    "logs": [["logs", job] for job in JOBS]
    + [["logs", "-f", "failed-job"], ["logs", "evil-job", "--json"]],
    "artifacts": [
        ["artifacts", "evil-job"],
        ["artifacts", "evil-job", "--json"],
        ["artifacts", "evil-job", "get", FILE, "-o", "kept"],
        ["artifacts", "evil-job", "get", EVIL],
    ],
    "wait": [["wait", "failed-job"], ["wait", "failed-job", "--json"], ["wait", EVIL]],
    "cancel": [
        ["cancel", "evil-job", "--reason", EVIL, "--wait", "0"],
        ["cancel", "--queue", EVIL],
        ["cancel", "--task", EVIL, "--older", EVIL],
    ],
    "retry": [["retry", "evil-job"], ["retry", EVIL], ["retry", "--task", EVIL]],
    "failures": [
        ["failures"],
        ["failures", "--json"],
        ["failures", FINGERPRINT],
        ["failures", FINGERPRINT, "--json"],
        ["failures", EVIL],
        ["failures", "--task", EVIL],
        ["failures", "--queue", EVIL],
    ],
    "stack": [
        ["stack", "evil-job", "--timeout", "0.1"],
        ["stack", "failed-job"],
        ["stack", EVIL],
        ["stack", "evil-job", "--timeout", EVIL],
    ],
    "delete": [["delete", "evil-job"], ["delete", EVIL], ["delete", "--queue", EVIL]],
    "queues": [
        ["queues"],
        ["queues", "--json"],
        ["queues", "pause", EVIL],
        ["queues", "resume", EVIL],
        ["queues", "pause", f"{EVIL}2"],
    ],
    "workers": [
        ["workers"],
        ["workers", "--json"],
        ["workers", "quiet", EVIL],
        ["workers", "resume", EVIL],
        ["workers", "drain", f"{EVIL}2"],
        ["workers", "remove", EVIL],
        ["workers", "remove", "--force", EVIL],
    ],
    "agents": [["agents"], ["agents", "--json"]],
    "schedules": [
        ["schedules"],
        ["schedules", "--json"],
        ["schedules", "pause", EVIL],
        ["schedules", "resume", f"{EVIL}2"],
        ["schedules", "remove", EVIL],
    ],
    "token list": [["token", "list"], ["token", "list", "--json"]],
    "token create": [["token", "create", EVIL, "--scope", "read"]],
    "token revoke": [["token", "revoke", "evil1234"], ["token", "revoke", EVIL]],
    "audit": [["audit"], ["audit", "--json"]],
    "scale": [["scale", "--config", EVIL], ["scale", "--config", "evil.toml"]],
    "scale status": [["scale", "status", "--name", name] for name in (EVIL, "none")]
    + [["scale", "status"], ["scale", "status", "--json"]],
    "scale simulate": [
        ["scale", "simulate", "--trace", EVIL, "--policy", EVIL],
        ["scale", "simulate", "--trace", "evil.csv", "--policy", "evil.toml"],
    ],
    "bench": [["bench", "--jobs", EVIL]],
    "drill": [["drill", "--list"], ["drill", EVIL], ["drill", "--only", EVIL]],
    "migrate": [["migrate"], ["migrate", "--sql", "--url", f"postgresql://{EVIL}@/db?host={EVIL}"]],
    "move": [
        ["move", EVIL, "new.db"],
        ["move", "jobs.db", EVIL],
        ["move", "jobs.db", "new.db", "--check"],
        ["move", "jobs.db", f"postgresql://{EVIL}@/db?host={EVIL}"],
        ["move", "--undo", EVIL],
    ],
    "top": [["top", "--once"], ["top", "--json"]],
    "stats": [["stats"], ["stats", EVIL], ["stats", "--json"], ["stats", "--since", EVIL]],
    "mark": [["mark"], ["mark", "--json"], ["mark", EVIL], ["mark", "plain"]],
    "doctor": [
        ["doctor"],
        ["doctor", "--json"],
        ["doctor", "--quick", "--health-file", EVIL],
        ["doctor", "--quick", "--health-file", "evil.health"],
    ],
    "completion": [["completion", EVIL]],
    "run": [["run", EVIL], ["run", "evil_app:belt"]],
    "worker": [["worker", EVIL], ["worker", "evil_app:belt", "--label", EVIL]],
    "server": [["server", EVIL], ["server", "--host", EVIL], ["server", "--tls-cert", EVIL]],
    "agent": [["agent", "--server", EVIL], ["agent", "--server", f"http://{EVIL}"]],
}
ALL = [*REFUSED, *(args for calls in CALLS.values() for args in calls)]


def command_names(group: click.Group, before: str = "") -> Iterator[str]:
    """Return the names of all commands, with those of groups that do something themselves."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield before + name
        if isinstance(command, click.Group):
            yield from command_names(command, f"{before}{name} ")


def run_on_a_terminal(folder: Path, *options: str, **environment: str) -> bytes:
    """Run all calls in one process whose stdout and stderr are a terminal; return its output."""
    (folder / "calls.json").write_text(json.dumps(ALL))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, hostile_store.__file__, "calls.json", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"COLUMNS": "500", "TERM": "xterm-256color"} | environment,
    )
    os.close(slave)
    printed = b""
    try:
        while piece := os.read(master, 1 << 16):
            printed += piece
    except OSError:  # so a terminal ends on Linux
        pass
    finally:
        os.close(master)
    assert process.wait(60) == 0, printed[-2000:]
    return printed


def harmful(printed: bytes) -> list[str]:
    """Return what could do harm in the output of each call, after what is ours was removed."""
    found: list[str] = []
    for part in re.split(rb"(?m)^=== ", printed.replace(b"\r\n", b"\n"))[1:]:
        number, _, rest = part.decode(errors="surrogateescape").partition("\n")
        command = ALL[int(number)][0]
        shown = OURS.sub("", rest.replace(COLOUR, "\x1b<colour of others>"))
        if command in ("drill", "move"):
            shown = PROGRESS.sub("", shown)
        bad = {
            letter
            for letter in shown
            if letter not in "\n\t" and category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        }
        bad |= set(re.findall("\u0301{7,}", shown))
        if command not in SHOW_OUTPUT:
            bad |= set(re.findall("^(?:first|second).*", shown, re.MULTILINE))
        if bad:
            found.append(f"{command}: {ALL[int(number)][1:]}: {sorted(bad)}")
    return found


@pytest.fixture
def hostile(folder: Path) -> Path:
    """A folder whose store, files and application are hostile."""
    belt = Conveyor("jobs.db")
    hostile_store.fill(belt)
    belt.close()
    (folder / "evil_app.py").write_text(f"raise RuntimeError({EVIL!r})")
    name = json.dumps(EVIL)
    (folder / "evil.toml").write_text(f"[pools.{name}]\nmax = 1\nprovider = {name}\n")
    (folder / "evil.csv").write_text(f"at,duration,labels\n1,1,{EVIL!r}\n{EVIL!r},1,\n")
    health = {
        "worker": EVIL, "state": EVIL, "running": 0, "slots": 1, "at": 4e9, "pid": 1,
        "pid_started": 0.0, "boot_id": "", "sick": {EVIL: EVIL},
    }  # fmt: skip
    (folder / "evil.health").write_text(json.dumps(health))
    return folder


def test_each_command_is_called() -> None:
    assert {name.split()[0] for name in command_names(cli)} == set(COMMANDS)
    assert set(command_names(cli)) == set(CALLS)


def test_no_command_prints_a_control_sequence_of_others(hostile: Path) -> None:
    printed = run_on_a_terminal(hostile)
    assert printed.count(b"\n=== ") + printed.startswith(b"=== ") == len(ALL)
    assert b"Traceback (most recent call last)" not in printed
    assert harmful(printed) == []


def test_the_same_with_escaping_switched_off_is_found(hostile: Path) -> None:
    found = harmful(run_on_a_terminal(hostile, "--unescaped"))
    caught = {entry.partition(":")[0] for entry in found}
    assert caught >= {"ps", "show", "why", "logs", "queues", "workers", "schedules", "scale"}
    assert len(found) > len(ALL) // 2


class HostileServer(BaseHTTPRequestHandler):
    """Answers every call with a problem whose every text is an attack."""

    def do_GET(self) -> None:
        body = json.dumps(
            {"type": EVIL, "title": EVIL, "status": 404, "code": "not_found", "detail": EVIL}
        ).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server names them

    def log_message(self, *_args: object) -> None: ...


@pytest.fixture
def hostile_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), HostileServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_problems_of_a_hostile_server_are_shown_escaped(
    conveyor: Command, hostile_url: str
) -> None:
    for args in (["ps"], ["queues", "pause", "x"], ["enqueue", "x"], ["schedules"], ["audit"]):
        ran = conveyor(*args, "--url", hostile_url)
        assert ran.code == 3, ran
        assert "\\x1b]0;title\\x07" in ran.err
        assert all(letter.isprintable() for letter in ran.err.removesuffix("\n"))
