"""Who may read what lies beside a SQLite store: its owner, or its group too, whatever the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor
from conveyor.core.command_policy import CommandRules
from conveyor.system.file_owner import create_directory, create_file
from conveyor.worker import health

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
OTHER_GROUP = 65534

# Two users of a group, one after the other. Everything is imported as root, because another user
# may not be able to read Python's files.
AS_MEMBERS = """
import os, sys
from conveyor import Conveyor

def use(folder):
    belt = Conveyor(folder + "/jobs.db")
    belt.command("true", files={"i": folder + "/given"}).enqueue()
    belt.store.listen(["final"], print)()
    print(len(belt.jobs()), flush=True)
    belt.close()

group, folder = int(sys.argv[1]), sys.argv[2]
os.mkdir(folder + "/../imported")
open(folder + "/../imported/given", "w").close()
use(folder + "/../imported")
for user in 65532, 65533:
    if not os.fork():
        os.setgroups([group]), os.setgid(user), os.setuid(user)
        use(folder)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def use(folder: Path, **worker: Any) -> Conveyor:
    """Create all kinds of file beside a store, and return the open belt with its worker."""
    given = folder.parent / "given"
    given.write_text("in")
    belt = Conveyor(folder / "jobs.db")
    job = belt.command(
        "sh", "-c", "echo out > made", artifacts=["made"], files={"i": given}
    ).enqueue()
    belt.start(queues=["default"], **worker)
    assert job.result(timeout=30) == {"exit_code": 0}
    return belt


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file beside the store, by its path."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    made.mkdir()
    made.chmod(0o755)
    return made


def test_only_its_owner_can_read_a_store_whatever_the_umask(umask: int, folder: Path) -> None:
    belt = use(folder)
    found = modes(folder)
    belt.stop()
    belt.close()
    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.lock", "jobs.db.files"} <= {*found}
    assert [name for name in found if name.startswith("jobs.db.bells/")]
    assert [name for name in found if name.startswith("jobs.db.workers/")]
    expected = {name: 0o700 if (folder / name).is_dir() else 0o600 for name in found}
    assert found == expected


def test_what_lies_beside_a_database_of_a_group_is_open_to_its_group(
    umask: int, folder: Path
) -> None:
    group = OTHER_GROUP if os.geteuid() == 0 else os.getegid()
    os.chown(folder, -1, group)
    folder.chmod(0o2750)  # SQLite's own files take the group of the folder
    (folder / "jobs.db").touch()
    (folder / "jobs.db").chmod(0o660)
    belt = use(folder)
    found = modes(folder)
    groups = {path.lstat().st_gid for path in folder.rglob("*")}
    belt.stop()
    belt.close()
    expected = {name: 0o2770 if (folder / name).is_dir() else 0o660 for name in found}
    assert found == expected
    assert groups == {group}


def test_who_may_only_read_a_database_gets_nothing_that_lies_beside_it(folder: Path) -> None:
    (folder / "jobs.db").touch()
    (folder / "jobs.db").chmod(0o644)  # as older versions created it
    belt = use(folder)
    found = modes(folder)
    belt.stop()
    belt.close()
    sqlites = {"jobs.db", "jobs.db-wal", "jobs.db-shm"}
    assert {found[name] for name in sqlites} == {0o644}
    assert {found[name] & 0o077 for name in found.keys() - sqlites} == {0}


def test_the_lock_of_an_older_version_is_withheld_from_those_who_may_only_read_it(
    folder: Path,
) -> None:
    (folder / "jobs.db").touch()
    (folder / "jobs.db").chmod(0o660)
    lock = folder / "jobs.db.lock"
    lock.touch()
    for before, after in ((0o644, 0o640), (0o666, 0o660), (0o600, 0o600)):
        lock.chmod(before)
        Conveyor(f"sqlite:///{folder}/jobs.db").store.close()
        assert stat.S_IMODE(lock.stat().st_mode) == after
    (folder / "jobs.db").chmod(0o644)
    Conveyor(f"sqlite:///{folder}/jobs.db").store.close()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@root
def test_a_lock_of_another_user_stays_as_it_is(folder: Path) -> None:
    (folder / "jobs.db").touch(mode=0o600)
    lock = folder / "jobs.db.lock"
    lock.touch()
    lock.chmod(0o644)
    os.chown(lock, OTHER_GROUP, -1)
    Conveyor(f"sqlite:///{folder}/jobs.db").store.close()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644


@root
def test_a_command_of_another_user_can_read_nothing_of_a_store() -> None:
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            store = Path(folder, "store")
            store.mkdir()
            belt = use(store, commands=CommandRules(user="nobody"))
            paths = [str(path) for path in store.rglob("*")]
            public = str(store.parent / "given")
            script = 'for path; do if test -r "$path"; then echo "$path"; fi; done'
            readable = belt.command("sh", "-c", script, "sh", public, *paths).enqueue()
            readable.wait(30)
            belt.stop()
            assert readable.logs() == f"{public}\n"
            assert {Path(path).name for path in paths} >= {"jobs.db", "jobs.db.lock"}
            belt.close()
    finally:
        os.umask(before)


@root
def test_the_users_of_a_group_can_share_a_store() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name, "store")
        folder.mkdir()
        (folder / "given").write_text("in")
        (folder / "jobs.db").touch()
        (folder / "jobs.db").chmod(0o660)
        for path in (folder, folder / "jobs.db"):
            os.chown(path, 65532, OTHER_GROUP)
        folder.chmod(0o2770)
        ran = subprocess.run(
            [sys.executable, "-c", AS_MEMBERS, str(OTHER_GROUP), str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout == "1\n1\n2\n", ran.stderr


@root
def test_what_a_user_outside_the_group_creates_is_open_to_no_group() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        database = Path(name, "jobs.db")
        database.touch()
        os.chown(database, -1, OTHER_GROUP)
        database.chmod(0o660)
        child = os.fork()
        if not child:
            os.setgroups([])
            os.setgid(65532)
            os.setuid(65532)
            os.close(create_file(f"{name}/lock", os.O_RDWR, like=str(database)))
            create_directory(f"{name}/directory", like=str(database))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert stat.S_IMODE(Path(name, "lock").stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(name, "directory").stat().st_mode) == 0o700


def test_a_health_file_is_private_and_follows_no_link(umask: int, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "health.new").symlink_to(precious)
    found = health.Health(
        worker="w", state="ready", running=0, slots=1, at=0, pid=1, pid_started=0, boot_id=""
    )
    health.write(str(tmp_path / "health"), found)
    assert precious.read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "health").stat().st_mode) == 0o600
    assert health.read(str(tmp_path / "health")) == found
