"""`conveyor scale`: the scaler as a role, beside a worker, looked at, and refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor, ScalerActed
from conveyor.autoscaler.config import DEFAULT_NAME
from conveyor.autoscaler.status import ScalerEvent
from conveyor.cli.run import scaler_acted
from conveyor.system.process_identity import worker_info

FILE = """
[server]
url = "http://127.0.0.1:9"
[pools.plain]
commands = true
max = 2
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "scale.toml"
    path.write_text(FILE)
    return path


def test_a_dry_run_says_what_would_be_done_and_why_and_does_nothing(
    conveyor: Command, belt: Conveyor, file: Path
) -> None:
    belt.command("true").enqueue()
    ran = conveyor("scale", "--config", file, "--dry-run")
    assert ran.code == 0
    assert "plain\t0\t0\t0\t0\t0\t0\t0" in ran.out
    held = "pool 'plain' gets 0 of 1: no server is running, so agents could not connect"
    assert held in ran.out
    belt.store.beat(worker_info("server-1", now=belt.store.now())).result()
    ran = conveyor("scale", "--config", file, "--dry-run")
    assert "start plain x1: 1 job requiring commands on queue 'default'" in ran.out
    assert belt.store.leader(DEFAULT_NAME).result() is None
    assert not (file.parent / ".conveyor-machines").exists()
    assert belt.store.actions(limit=10).result() == []


def test_a_dry_run_that_finds_nothing_to_do_says_so(conveyor: Command, file: Path) -> None:
    assert "nothing to do" in conveyor("scale", "--config", file, "--dry-run").out


def test_the_status_is_what_the_last_look_left_wherever_that_was(
    conveyor: Command, start: Start, belt: Conveyor, file: Path, until: Callable[..., None]
) -> None:
    belt.command("true").enqueue()
    ran = conveyor("scale", "status")
    assert ran.code == 3
    assert "no scaler 'scaler' has run against this store" in ran.err
    process = start("scale", "--config", str(file), "--every", "0.2")
    until(lambda: conveyor("scale", "status").code == 0)
    ran = conveyor("scale", "status")
    assert ran.out.startswith("POOL\tWANTED\tHAVE\tBOOTING\tIDLE\tBUSY\tDRAINING\tOTHER\n")
    assert "held: 1 job requiring commands on queue 'default' without a free slot" in ran.out
    assert "last cycle 0." in ran.out
    status = json.loads(conveyor("scale", "status", "--json").out)
    assert status["leader"]
    assert status["every"] == 0.2
    assert status["pools"][0]["pool"] == "plain"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "scaler: stopped; machines keep running" in said
    assert "no scaler is running; last cycle" in conveyor("scale", "status").out
    assert json.loads(conveyor("scale", "status", "--json").out)["leader"] is None


def test_an_action_of_a_scaler_beside_a_worker_is_an_event_of_the_application() -> None:
    did = ScalerEvent(at=3.0, did="start", subject="plain", why="2 jobs wait", count=2)
    expected = ScalerActed(at=3.0, did="start", subject="plain", why="2 jobs wait", count=2)
    assert scaler_acted(did) == expected


def test_a_worker_can_be_the_scaler_too(
    start: Start, belt: Conveyor, file: Path, until: Callable[..., None]
) -> None:
    process = start("run", "app:belt", "--scale", str(file))
    until(lambda: belt.store.leader(DEFAULT_NAME).result() is not None)
    belt.functions["send"].enqueue(to="ada").result(60)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    leader = belt.store.leader(DEFAULT_NAME).result()
    assert leader is not None
    assert leader.until <= belt.store.now()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["scale"], "name a configuration: conveyor scale --config scale.toml"),
        (["scale", "--config", "none.toml"], "cannot read the policy 'none.toml'"),
        (
            ["scale", "--config", "scale.toml", "--every", "0"],
            "--every must be more than 0 seconds, got '0'",
        ),
        (["scale", "--config", "scale.toml", "status"], "--config is for the scaler itself"),
        (["scale", "--config", "lonely.toml"], "lonely.toml: agents need the URL of a server"),
        (["scale", "--config", "wrong.toml"], "did you mean 'pools'?"),
        (["scale", "--config", "odd.toml"], "provider process: Object contains unknown field"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_begun(
    conveyor: Command, file: Path, args: list[str], said: str
) -> None:
    (file.parent / "lonely.toml").write_text("[pools.plain]\nmax = 1\n")
    (file.parent / "wrong.toml").write_text("[pool.plain]\nmax = 1\n")
    (file.parent / "odd.toml").write_text(f"{FILE}\n[providers.process]\ngraze = 1\n")
    ran = conveyor(*args)
    assert ran.code == 2
    assert said in ran.err


def test_a_worker_does_not_begin_with_a_scaler_that_means_nothing(
    really: Command, file: Path
) -> None:
    (file.parent / "odd.toml").write_text(f"{FILE}\n[providers.process]\ngraze = 1\n")
    ran = really("run", "app:belt", "--scale", "odd.toml")
    assert ran.code == 2
    assert "provider process: Object contains unknown field `graze`" in ran.err
    assert "slots" not in ran.err
