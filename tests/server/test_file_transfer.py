"""Transfers of files between producers, a server and agents, while the server is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import Deployment, Process, wait_for

from conveyor import Conveyor, State
from conveyor.client.job_handle import Job
from conveyor.core.files import PIECE

SIZE = 48 * PIECE
CONTENT = hashlib.sha256(bytes(SIZE)).hexdigest()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Return a folder for an agent's temporary files that everybody can pass through."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


def remote(deployment: Deployment) -> Conveyor:
    return deployment.closing(Conveyor(deployment.url, token=deployment.admin))


def kill_in_the_middle(server: Process, part: Path) -> int:
    """Kill the server as soon as a part of the large file is there; return its inode."""

    def begun() -> bool:
        try:
            return os.stat(part).st_size > 2 * PIECE
        except FileNotFoundError:
            return False

    wait_for(begun)
    server.stop(signal.SIGKILL)
    found = os.stat(part)
    assert found.st_size < SIZE
    return found.st_ino


def stored(deployment: Deployment) -> Path:
    return Path(f"{deployment.db}.files", CONTENT[:2], CONTENT)


def undisturbed(job: Job[dict[str, int]]) -> None:
    record = job.wait(60)
    assert (record.state, record.crashes, record.attempt) == (State.COMPLETED, 0, 1), record.error


def test_the_upload_of_an_artifact_resumes_after_a_restart_of_the_server(
    deployment: Deployment, tmp_path: Path
) -> None:
    server = deployment.server()
    deployment.agent()
    fill = remote(deployment).command("truncate", "-s", str(SIZE), "out", artifacts=["out"])
    job = fill.enqueue()
    inode = kill_in_the_middle(server, Path(f"{stored(deployment)}.part"))
    deployment.server()
    undisturbed(job)
    assert os.stat(stored(deployment)).st_ino == inode  # the same file, continued
    assert job.download("out", tmp_path / "out").digest == CONTENT
    assert (tmp_path / "out").stat().st_size == SIZE


def test_the_download_of_an_input_resumes_after_a_restart_of_the_server(
    deployment: Deployment, large: Path, temporary: Path
) -> None:
    server = deployment.server()
    job = remote(deployment).command("sha256sum", "in", files={"in": large}).enqueue()
    agent = deployment.agent(TMPDIR=str(temporary))
    wait_for(lambda: list(temporary.glob("*/*/in")))
    [part] = temporary.glob("*/*/in")
    kill_in_the_middle(server, part)
    deployment.server()
    undisturbed(job)
    assert job.logs("stdout") == f"{CONTENT}  in\n"
    agent.stop()


def test_the_upload_of_an_input_resumes_after_a_restart_of_the_server(
    deployment: Deployment, large: Path
) -> None:
    server = deployment.server()
    made: list[Job[dict[str, int]]] = []
    command = remote(deployment).command("sha256sum", "in", files={"in": large})
    enqueueing = threading.Thread(target=lambda: made.append(command.enqueue()))
    enqueueing.start()
    inode = kill_in_the_middle(server, Path(f"{stored(deployment)}.part"))
    deployment.server()
    enqueueing.join(30)
    deployment.agent()
    undisturbed(made[0])
    assert os.stat(stored(deployment)).st_ino == inode
    assert made[0].logs("stdout") == f"{CONTENT}  in\n"


def test_the_download_of_an_artifact_resumes_after_a_restart_of_the_server(
    deployment: Deployment, tmp_path: Path
) -> None:
    server = deployment.server()
    deployment.agent()
    fill = remote(deployment).command("truncate", "-s", str(SIZE), "out", artifacts=["out"])
    job = fill.enqueue()
    undisturbed(job)
    loading = threading.Thread(target=lambda: job.download("out", tmp_path / "out"))
    loading.start()
    kill_in_the_middle(server, tmp_path / f".out.{CONTENT[:16]}.part")
    assert not (tmp_path / "out").exists()
    deployment.server()
    loading.join(30)
    assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
def test_a_command_of_another_user_gets_its_files_on_an_agent(
    deployment: Deployment, temporary: Path, tmp_path: Path
) -> None:
    deployment.server_thread()
    agent = deployment.agent("--run-as", "nobody", TMPDIR=str(temporary))
    (tmp_path / "source").write_text("text\n")
    script = "id -un > out; cat in >> out; ln -s /etc/shadow shadow"
    job = (
        remote(deployment)
        .command("sh", "-c", script, files={"in": tmp_path / "source"}, artifacts=["*"])
        .enqueue()
    )
    undisturbed(job)
    assert [file.name for file in job.artifacts()] == ["in", "out"]
    job.download("out", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "nobody\ntext\n"
    agent.stop()
