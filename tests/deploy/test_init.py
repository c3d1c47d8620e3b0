"""As PID 1 a program of ours is an init and its own child: signals, exit codes, orphans."""

from __future__ import annotations

import os
import pty
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from namespace import First

Until = Callable[[Callable[[], object]], None]
BIN = Path(sys.executable).parent

# What goes on below the init: `body` after it has written "ready".
PROGRAM = """
import os, signal, subprocess, sys, time
from conveyor.cli.shared.pid1 import fork_below_init
got = []
fork_below_init()
def hear(number, frame):
    got.append(signal.Signals(number).name)
    open("got", "w").write(" ".join(got))
{body}
"""
HEAR = """
for name in sys.argv[1:]:
    signal.signal(signal.Signals[name], hear)
open("ready", "w").close()
while "SIGUSR2" not in got:
    time.sleep(0.01)
sys.exit(len(got))
"""


def python(body: str, *args: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(body=body), *args]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(75)", 75),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("assert os.getppid() == 1; sys.exit(9)", 9),
        # An orphan that ends first is reaped, and its code is not taken for ours.
        ("os.system('(sh -c \"exit 5\" &)'); time.sleep(0.2); sys.exit(3)", 3),
        ("sys.exit(subprocess.run(['sh', '-c', 'exit 4']).returncode)", 4),
    ],
)
def test_the_exit_code_is_that_of_what_runs_below(body: str, code: int, tmp_path: Path) -> None:
    with First(python(body), cwd=tmp_path) as first:
        assert first.wait() == code


def test_every_signal_is_passed_on_once(tmp_path: Path, until: Until) -> None:
    names = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGTSTP", "SIGCONT", "SIGWINCH"]
    with First(python(HEAR, *names, "SIGUSR2"), cwd=tmp_path) as first:
        until((tmp_path / "ready").exists)
        got = tmp_path / "got"
        for count, name in enumerate([*names, "SIGUSR2"], 1):
            first.send(signal.Signals[name])
            until(lambda: got.exists() and len(got.read_text().split()) == count)  # noqa: B023
        assert first.wait() == len(names) + 1
    assert got.read_text().split() == [*names, "SIGUSR2"]


def test_a_signal_that_comes_before_there_are_handlers_ends_it_at_once(
    tmp_path: Path, until: Until
) -> None:
    draw = random.Random(4711)
    for _ in range(20):
        with First(python("time.sleep(60)"), cwd=tmp_path) as first:
            until(lambda: first.minds(signal.SIGTERM))
            time.sleep(draw.uniform(0, 0.01))
            first.send(signal.SIGTERM)
            assert first.wait(60) == 143


def test_a_child_that_is_stopped_is_not_taken_for_ended(tmp_path: Path, until: Until) -> None:
    with First(python(HEAR, "SIGTERM", "SIGUSR2"), cwd=tmp_path) as first:
        until((tmp_path / "ready").exists)
        child = first.below()
        os.kill(child, signal.SIGSTOP)
        until(lambda: [each.state for each in first.processes() if each.pid == child] == ["T"])
        first.send(signal.SIGTERM)
        assert first.outer.poll() is None
        first.send(signal.SIGCONT)
        until((tmp_path / "got").exists)
        first.send(signal.SIGUSR2)
        assert first.wait() == 2


def test_what_is_left_over_is_killed_when_the_child_ends(tmp_path: Path, until: Until) -> None:
    body = "os.system('setsid sleep 60 &'); open('ready', 'w').close(); signal.pause()"
    with First(python(body), cwd=tmp_path) as first:
        until((tmp_path / "ready").exists)
        left = [each.pid for each in first.processes()]
        assert len(left) > 2
        first.send(signal.SIGTERM)
        assert first.wait() == 143
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def test_orphans_are_reaped_while_it_runs(tmp_path: Path, until: Until) -> None:
    body = (
        "os.system('for i in 1 2 3; do (setsid true &); done'); open('ready', 'w').close();" + HEAR
    )
    with First(python(body, "SIGUSR2"), cwd=tmp_path) as first:
        until((tmp_path / "ready").exists)
        until(lambda: len(first.processes()) == 2)
        first.send(signal.SIGUSR2)
        assert first.wait() == 1


def test_ctrl_c_at_a_terminal_comes_once(tmp_path: Path, until: Until) -> None:
    # As `docker run -it` does: PID 1 leads the session of the terminal.
    main, side = pty.openpty()
    command = ["setsid", "--ctty", *python(HEAR, "SIGINT", "SIGUSR2")]
    with First(command, cwd=tmp_path, stdin=side) as first:
        until((tmp_path / "ready").exists)
        os.write(main, b"\x03")
        until((tmp_path / "got").exists)
        first.send(signal.SIGUSR2)
        assert first.wait() == 2
    assert (tmp_path / "got").read_text() == "SIGINT SIGUSR2"
    os.close(main)
    os.close(side)


APP = """
from conveyor import Conveyor
belt = Conveyor("jobs.db")
queue = belt.queue("q")
belt.command("sh", "-c", "touch began; sleep 1; touch ended", queue="q").enqueue()
"""


@pytest.mark.parametrize(
    "before",
    [
        [str(BIN / "dumb-init")],  # which signals the group, as `tini -g` does
        [str(BIN / "dumb-init"), "--single-child"],  # as `tini` does
        ["sh", "-c", 'exec "$@"', "sh"],
        [],
    ],
    ids=["an init for groups", "an init for one", "a shell with exec", "no init"],
)
def test_a_worker_drains_under_whatever_starts_it(
    before: list[str], tmp_path: Path, until: Until
) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "conveyor", "worker", "app:belt"]
    with First([*before, *command], cwd=tmp_path) as first:
        until((tmp_path / "began").exists)
        first.send(signal.SIGTERM)
        assert first.wait() == 0
        assert "warning" not in first.said
        assert "1 job ended, 0 returned to the queue" in first.said
    assert (tmp_path / "ended").exists(), "the job did not get the worker's signal"


def test_a_worker_below_a_shell_that_keeps_signals_says_so(tmp_path: Path, until: Until) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = f"{sys.executable} -m conveyor worker app:belt; true"
    with First(["sh", "-c", command], cwd=tmp_path) as first:
        until(lambda: "warning: PID 1 is `sh -c`" in first.said)
        # And it is true.
        until((tmp_path / "began").exists)
        first.send(signal.SIGTERM)
        until((tmp_path / "ended").exists)
        assert "SIGTERM" not in first.said
        assert first.outer.poll() is None


def test_exec_as_pid_1_ends_with_the_code_of_its_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "conveyor", "exec", "--url", "jobs.db"]
    with First([*command, "--", "sh", "-c", "exit 5"], cwd=tmp_path) as first:
        assert first.wait() == 5
