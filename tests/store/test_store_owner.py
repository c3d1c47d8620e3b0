"""A root process that uses another user's store does not lock that user out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conveyor import Conveyor
from conveyor.system.file_owner import share_socket

OWNER = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

# Everything is imported as root, because another user may not be able to read Python's files.
AS_OWNER = """
import os, sys
from conveyor import Conveyor

def use(path):
    belt = Conveyor(path)
    given = os.path.join(os.path.dirname(path), "more")
    with open(given, "w") as file:
        file.write("more")
    belt.command("true", files={"i": given}).enqueue()
    print(len(belt.jobs()))
    belt.store.listen(["final"], print)()
    belt.close()

os.mkdir(sys.argv[1] + "/../imported")
use(sys.argv[1] + "/../imported/jobs.db")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
use(sys.argv[1] + "/jobs.db")
"""


@pytest.fixture
def folder() -> Path:
    """A directory of another user, which that user can reach."""
    made = Path("/var/tmp") / f"conveyor-owner-{os.getpid()}" / "store"
    made.mkdir(mode=0o755, parents=True)
    os.chown(made, OWNER, OWNER)
    return made


def test_what_root_creates_beside_a_store_belongs_to_the_store_s_owner(
    folder: Path, tmp_path: Path
) -> None:
    try:
        (folder / "jobs.db").touch()
        os.chown(folder / "jobs.db", OWNER, OWNER)
        belt = Conveyor(folder / "jobs.db")
        given = tmp_path / "given"
        given.write_text("in")
        command = belt.command("sh", "-c", "echo out > a", artifacts=["a"], files={"i": given})
        with_worker = command.enqueue()
        belt.start(queues=["default"])
        with_worker.wait(30)
        paths = [folder, *folder.rglob("*")]
        names = {path.suffix or path.name for path in paths}
        assert {".db", ".lock", ".bells", ".workers", ".files", ".final"} <= names
        assert [path for path in paths if path.lstat().st_uid != OWNER] == []
        belt.stop()
        belt.close()
        ran = subprocess.run(
            [sys.executable, "-c", AS_OWNER, str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout == "1\n2\n", ran.stderr
    finally:
        shutil.rmtree(folder.parent)


def test_root_gives_away_nothing_that_it_has_not_created(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").touch()
    os.chown(tmp_path / "jobs.db", OWNER, OWNER)
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    (tmp_path / "jobs.db.lock").symlink_to(secret)
    private = tmp_path / "private"
    private.mkdir()
    (tmp_path / "jobs.db.files").symlink_to(private)
    belt = Conveyor(tmp_path / "jobs.db")
    given = tmp_path / "given"
    given.write_text("in")
    belt.command("true", files={"i": given}).enqueue()
    belt.close()
    assert secret.stat().st_uid == 0
    assert private.stat().st_uid == 0


def test_a_link_in_the_place_of_a_new_socket_gives_nothing_away(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, OWNER, OWNER)
    (theirs / "socket").symlink_to(secret)
    directory = os.open(theirs, os.O_RDONLY)
    share_socket("socket", directory)
    os.close(directory)
    seen = secret.stat()
    assert (seen.st_uid, seen.st_mode & 0o777) == (0, 0o600)


# Another user acts between two calls of the operating system: Python announces both.
BETWEEN = """
import os, sys
from conveyor.system.file_owner import create_directory, create_file

private, theirs = sys.argv[1:]
name = os.path.join(theirs, "made")
flags = []

def act(event, args):
    if event == "open" and args[0] == name:
        flags.append(args[2])
        if os.path.isdir(name) and not os.path.islink(name):
            os.rmdir(name)
            os.symlink(private, name)

sys.addaudithook(act)
create_directory(name, like=theirs)
os.unlink(name)
os.close(os.open(name, os.O_RDWR | os.O_CREAT))
flags.clear()
os.close(create_file(name, os.O_RDWR, like=theirs))
print(*(each & os.O_CREAT for each in flags))
"""


def test_a_new_directory_that_is_replaced_by_a_link_gives_nothing_away(tmp_path: Path) -> None:
    private, theirs = tmp_path / "private", tmp_path / "theirs"
    private.mkdir()
    theirs.mkdir()
    os.chown(theirs, OWNER, OWNER)
    ran = subprocess.run(
        [sys.executable, "-c", BETWEEN, str(private), str(theirs)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert private.stat().st_uid == 0, ran.stderr
    # A file that exists is opened without O_CREAT, which Linux refuses for another user's file in
    # a directory like /tmp (fs.protected_regular).
    assert ran.stdout == "0\n", ran.stderr
