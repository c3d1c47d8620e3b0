"""Jobs that read and write files, for tests/worker/test_files_end_to_end.py."""

from __future__ import annotations

from conveyor import current_job


def copy(source: str, target: str) -> str:
    """Copy a file within the job's folder, and return the path of the folder."""
    folder = current_job().folder
    data = (folder / source).read_bytes()
    path = folder / target
    path.parent.mkdir()
    path.write_bytes(data)
    current_job().artifact(source, name="named.txt")
    return str(folder)


async def acopy(source: str, target: str) -> str:
    """`copy` as a coroutine."""
    return copy(source, target)


def write() -> None:
    """Write a file in a job without inputs."""
    assert current_job().folder == current_job().folder
    (current_job().folder / "made.txt").write_text("made")
    current_job().artifact("made.txt")


async def awrite() -> None:
    """`write` as a coroutine."""
    write()


def keep_nothing() -> None:
    """Register a file that does not exist as an artifact."""
    current_job().artifact("nothing.txt")
