"""`conveyor exec` with a server: the command runs on an agent, and its artifacts come back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import HERE, Deployment


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a server with an agent for the queue of exec."""
    made = Deployment(tmp_path_factory.mktemp("agents"))
    made.server_thread()
    made.agent("--queue", "exec", "--label", "os=linux")
    yield made
    made.close()


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    """A folder that the agents do not have."""
    made = tmp_path / "laptop"
    made.mkdir()
    return made


def execute(deployment: Deployment, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conveyor", "exec", "--url", deployment.url, *args],
        cwd=folder,
        env=os.environ | {"CONVEYOR_TOKEN": deployment.admin},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_runs_where_the_agent_is(agents: Deployment, laptop: Path) -> None:
    ran = execute(agents, laptop, "--", "pwd")
    assert (ran.returncode, ran.stdout) == (0, f"{HERE}\n"), ran.stderr


def test_a_relative_directory_is_below_that_of_the_agent(agents: Deployment, laptop: Path) -> None:
    ran = execute(agents, laptop, "--cwd", "..", "pwd")
    assert (ran.returncode, ran.stdout) == (0, f"{HERE.parent}\n"), ran.stderr


def test_exec_uploads_files_and_downloads_artifacts(agents: Deployment, laptop: Path) -> None:
    (laptop / "source.txt").write_text("one\n")
    build = "mkdir dist; tr a-z A-Z < in/a.txt > dist/a.out; echo built; exit 3"
    options = ["--require", "os=linux", "--file", "in/a.txt=source.txt", "--artifact", "dist/*"]
    ran = execute(agents, laptop, *options, "--", "sh", "-c", build)
    assert (ran.returncode, ran.stdout) == (3, "built\n"), ran.stderr
    assert (laptop / "dist" / "a.out").read_text() == "ONE\n"
    assert sorted(path.name for path in laptop.iterdir()) == ["dist", "source.txt"]


def test_exec_without_an_agent_runs_locally(deployment: Deployment, laptop: Path) -> None:
    deployment.server_thread()
    (laptop / "a").write_text("one\n")
    options = ["--file", "a", "--artifact", "b", "-o", "out"]
    ran = execute(deployment, laptop, *options, "--", "cp", "a", "b")
    assert ran.returncode == 0, ran.stderr
    assert (laptop / "out" / "b").read_text() == "one\n"
