"""`conveyor exec` at a server: its command runs on an agent, and what belongs to it comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from estate import HERE, Estate


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    """A folder that the agents do not have."""
    made = tmp_path / "laptop"
    made.mkdir()
    return made


def execute(estate: Estate, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conveyor", "exec", "--url", estate.url, *args],
        cwd=folder,
        env=os.environ | {"CONVEYOR_TOKEN": estate.admin},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_runs_where_the_agent_is(estate: Estate, laptop: Path) -> None:
    estate.server()
    estate.agent("--queue", "exec")
    ran = execute(estate, laptop, "--", "pwd")
    assert (ran.returncode, ran.stdout) == (0, f"{HERE}\n"), ran.stderr


def test_a_relative_folder_is_below_the_agent_s(estate: Estate, laptop: Path) -> None:
    estate.server()
    estate.agent("--queue", "exec")
    ran = execute(estate, laptop, "--cwd", "..", "pwd")
    assert (ran.returncode, ran.stdout) == (0, f"{HERE.parent}\n"), ran.stderr


def test_files_go_there_and_artifacts_come_back(estate: Estate, laptop: Path) -> None:
    estate.server()
    estate.agent("--queue", "exec", "--label", "os=linux")
    (laptop / "source.txt").write_text("one\n")
    build = "mkdir dist; tr a-z A-Z < in/a.txt > dist/a.out; echo built; exit 3"
    options = ["--require", "os=linux", "--file", "in/a.txt=source.txt", "--artifact", "dist/*"]
    ran = execute(estate, laptop, *options, "--", "sh", "-c", build)
    assert (ran.returncode, ran.stdout) == (3, "built\n"), ran.stderr
    assert (laptop / "dist" / "a.out").read_text() == "ONE\n"
    assert sorted(path.name for path in laptop.iterdir()) == ["dist", "source.txt"]


def test_without_an_agent_it_runs_here_all_the_same(estate: Estate, laptop: Path) -> None:
    estate.server()
    (laptop / "a").write_text("one\n")
    options = ["--file", "a", "--artifact", "b", "-o", "out"]
    ran = execute(estate, laptop, *options, "--", "cp", "a", "b")
    assert ran.returncode == 0, ran.stderr
    assert (laptop / "out" / "b").read_text() == "one\n"
