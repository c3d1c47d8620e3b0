"""The build farm example: real packages, real processes, real failures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proc import environment, processes

PROGRAM = Path(__file__).parents[2] / "examples" / "buildfarm.py"
SETUP_FAILED = 2
SHORT = ("six", "markupsafe", "iniconfig", "simplejson", "idna")
WHEEL = re.compile(
    r"│ +(\S+) +│ +(cc|pure) +│ +(\w+) +│ +(\d) +│ +[\d.]+ +│ +[\d,]+ +│ +\S+\.whl +│"
)
Until = Callable[..., None]


def build(tmp_path: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, str(PROGRAM), *args]
    ran = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(temporary), **env},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert list(temporary.iterdir()) == []
    return ran


def check(ran: subprocess.CompletedProcess[str], least: int) -> dict[str, tuple[str, str, str]]:
    """Return label, agent and attempts of each package that was built."""
    said = ran.stdout + ran.stderr
    if ran.returncode == SETUP_FAILED:
        pytest.skip(said.strip().splitlines()[-1])
    assert (ran.returncode, ran.stderr) == (0, ""), said
    assert "FAILED" not in ran.stdout
    assert re.search(r"│ \S+ +│ \w+ +│ \w+ +│ +1 │.*│ cancelled +│", ran.stdout), said
    built = {found[1]: found.group(2, 3, 4) for found in WHEEL.finditer(ran.stdout)}
    assert len(built) >= least, said
    # One of them ran a second time, as its agent was killed.
    assert sorted(runs for _, _, runs in built.values())[-2:] == ["1", "2"]
    return built


def test_wheels_are_built_whatever_happens_to_the_farm(tmp_path: Path) -> None:
    built = check(build(tmp_path, "--short"), 3)
    assert set(built) <= set(SHORT)
    assert len({agent for _, agent, _ in built.values()}) > 1


@pytest.mark.slow
def test_many_wheels_are_built_whatever_happens_to_the_farm(tmp_path: Path) -> None:
    built = check(build(tmp_path), 12)
    assert {label for label, _, _ in built.values()} == {"cc", "pure"}


def test_without_sources_the_farm_fails_to_set_up_with_a_message(tmp_path: Path) -> None:
    ran = build(tmp_path, "six", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (SETUP_FAILED, "")
    assert "Cannot set up the farm: pip found no source distribution of six: ERROR" in ran.stdout


def test_the_directory_of_an_earlier_farm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").touch()
    ran = build(tmp_path, "six", "--folder", str(tmp_path))
    assert ran.returncode == SETUP_FAILED
    assert "contains an earlier farm" in ran.stdout


def ours(mark: str) -> list[int]:
    """Return the processes with a text in their environment."""
    return [pid for pid in processes() if any(mark in each for each in environment(pid))]


def test_the_document_shows_what_is_printed() -> None:
    """Numbers differ from run to run; the lines and the table do not."""
    shown = (PROGRAM.parents[1] / "docs" / "buildfarm.md").read_text()
    program = PROGRAM.read_text()
    lines = re.findall(r"^ok     (.*)$", shown, re.MULTILINE)
    assert lines
    for line in lines:
        told = re.sub(r"\([^)]*\)|\d+|\b(" + "|".join(SHORT) + r")\b", "\0", line)
        parts = [part for part in told.split("\0") if part.strip()]
        assert all(part in program for part in parts), line
    assert {found[1] for found in WHEEL.finditer(shown)} == set(SHORT)


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "3 agents"),
        pytest.param(signal.SIGINT, 130, "1 source", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, "kill -9 server", marks=pytest.mark.slow),
    ],
)
def test_a_farm_that_is_interrupted_leaves_nothing(
    number: int, code: int, moment: str, tmp_path: Path, until: Until
) -> None:
    # Two packages that are there already: pip is not asked for them.
    log, temporary = tmp_path / "log", tmp_path / "tmp"
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary)}
    with log.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "six"], env=env, stdout=target, stderr=target
        )
    try:
        until(
            lambda: process.poll() is not None or moment in log.read_text(),
            seconds=200,
        )
        if process.poll() == SETUP_FAILED:
            pytest.skip(log.read_text())
        process.send_signal(number)
        assert process.wait(60) == code, log.read_text()
    finally:
        process.kill()
        process.wait()
    until(lambda: ours(str(temporary)) == [])
    assert list(temporary.iterdir()) == []
