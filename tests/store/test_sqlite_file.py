"""The SQLite file itself: how it is opened, what it refuses, and the traps around it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import apsw
import msgspec
import pytest
from calls import claim, new, put, settle, state
from older_file import make_older

from conveyor.core.clock import SystemClock
from conveyor.core.files import InputFile
from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import CorruptStoreError, UnavailableError, UsageError
from conveyor.store.messages import Offered
from conveyor.store.open import open_store
from conveyor.store.protocol_files import UNUSED
from conveyor.store.sqlite.connection import Database
from conveyor.store.sqlite.migrate import APPLICATION_ID, schemas
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock
from other_process import run_script, sql


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


# -- how it is opened ------------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_the_wal_is_synced_as_the_durability_says(path: Path, durability: Any, level: int) -> None:
    db = Database(str(path), durability)
    assert db._connection.execute("PRAGMA journal_mode").get == "wal"
    assert db._connection.execute("PRAGMA synchronous").get == level
    assert db._connection.execute("PRAGMA wal_autocheckpoint").get == 0
    db.close()


@pytest.mark.parametrize("url", ["{}", "sqlite:///{}", "sqlite:///{}?durability=normal"])
def test_a_path_and_a_url_name_the_same_file(path: Path, url: str) -> None:
    store = open_store(url.format(path))
    put(store)
    store.close()
    assert sql(path, "SELECT count(*) FROM job") == [[1]]


@pytest.mark.parametrize(
    "url",
    ["sqlite:jobs.db", "sqlite:///", "sqlite:///jobs.db?durability=maybe", "jobs.db?sync=off"],
)
def test_a_wrong_url_is_refused_with_the_way_to_write_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"durability=full|sqlite:///jobs.db"):
        open_store(url)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    assert put(store)
    store.close()


def test_a_file_that_is_not_sqlite_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("a shopping list, long enough to be looked at\n" * 100)
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match=r"jobs\.db is not a SQLite database"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    sql(path, "CREATE TABLE job (name TEXT)")
    with pytest.raises(CorruptStoreError, match="another program"):
        SqliteStore(path)
    assert sql(path, "SELECT name FROM sqlite_schema") == [["job"]]


def test_a_database_from_a_newer_conveyor_is_refused_with_both_versions(path: Path) -> None:
    SqliteStore(path).close()
    sql(path, "PRAGMA user_version = 99")
    with pytest.raises(UnavailableError, match=rf"version 99.*up to {len(schemas())}\b"):
        SqliteStore(path)


def test_a_file_of_an_older_conveyor_is_brought_up_to_date_with_its_jobs(path: Path) -> None:
    store = SqliteStore(path)
    [job_id] = put(store)
    store.close()
    make_older(path, 2)
    store = SqliteStore(path)
    assert state(store, job_id) is State.AVAILABLE
    assert store.tokens(limit=1).result() == store.actions(limit=1).result() == []
    assert store.leader("scaler").result() is None
    store.close()


def test_producers_that_wait_in_a_file_of_schema_5_are_found_by_job_and_by_content(
    path: Path,
) -> None:
    content = b"an input"
    digest = hashlib.sha256(content).hexdigest()
    file = InputFile(name="in", digest=digest, size=len(content))
    jobs = [new(id="offered"), new(id="with a file", files=(file,))]
    old = apsw.Connection(str(path))
    for schema in schemas()[:5]:
        old.execute(schema)
    old.execute(f"PRAGMA user_version = 5; PRAGMA application_id = {APPLICATION_ID}")
    old.execute("INSERT INTO queue (name, capacity) VALUES ('q', 2)")
    row = ("q", SystemClock().now() + 600, msgspec.json.encode(jobs))
    old.execute("INSERT INTO offer (queue, until, request) VALUES (?, ?, ?)", row)
    old.close()
    clock = FakeClock(SystemClock().now())
    store = SqliteStore(path, clock=clock)
    store.write_content(digest, 0, content, last=True).result()
    found = [store.offered(each.id).result() for each in jobs]
    assert [each and each.name for each in found] == ["q", "q"]
    again = store.insert(jobs, capacity=2, again=True).result()
    assert isinstance(again, Offered)
    assert again.offer == "1"
    store.set_paused("q", paused=True).result()
    clock.advance(UNUSED + 1)
    assert store.sweep_contents(limit=9).result() == 0
    store.close()
    assert sql(path, "PRAGMA user_version") == [[len(schemas())]]


def test_two_that_have_the_file_open_see_one_leader_and_its_note(path: Path) -> None:
    one, other = SqliteStore(path), SqliteStore(path)
    taken = one.lead("scaler", "a", hold=600, note="n").result()
    assert other.lead("scaler", "b", hold=600, note="theirs").result() == taken
    one.close()
    again = SqliteStore(path)
    assert again.leader("scaler").result() == taken
    again.lead("scaler", "a", hold=0).result()
    handed_on = other.lead("scaler", "b", hold=600).result()
    assert (handed_on.holder, handed_on.term, handed_on.note) == ("b", 2, "n")
    other.close()
    again.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no/such"):
        SqliteStore(tmp_path / "no/such/jobs.db")


def test_a_file_that_cannot_be_written_is_refused_with_the_reason(path: Path) -> None:
    SqliteStore(path).close()
    path.parent.chmod(0o755)
    path.chmod(0o444)
    for beside in path.parent.glob("jobs.db*"):
        if beside.is_file():
            beside.chmod(0o444)
    text = run_script(
        "from conveyor.errors import UnavailableError\n"
        "from conveyor.store.sqlite.store import SqliteStore\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: SqliteStore(sys.argv[1])\n"
        "except UnavailableError as error: print(json.dumps(str(error)))",
        path,
        cwd="/",
    )
    assert "jobs.db" in text
    assert "ermission" in text or "read-only" in text


# -- full disks and damaged rows -------------------------------------------------------------------


def test_a_full_disk_loses_nothing_that_was_accepted_and_the_store_goes_on(path: Path) -> None:
    # A limit on the size of files is a disk that is full, for this process.
    accepted, error, later = run_script(
        "import resource, signal\n"
        "from conveyor.errors import UnavailableError\n"
        "from conveyor.core.job import NewJob\n"
        "from conveyor.store.sqlite.store import SqliteStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = SqliteStore(sys.argv[1])\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))\n"
        "accepted = []\n"
        "def put(number):\n"
        "    job = NewJob(id=f'job-{number}', task='t', args=b'{\"a\":[' + b'1,' * 2000 + b'1]}')\n"
        "    accepted.extend(store.insert([job]).result(10).ids)\n"
        "try:\n"
        "    for number in range(1000): put(number)\n"
        "except UnavailableError as said: error = str(said)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "before = len(accepted)\n"
        "put(5000)\n"
        "store.close()\n"
        "print(json.dumps([accepted, error, len(accepted) - before]))",
        path,
    )
    assert "jobs.db" in error
    assert "full" in error or "I/O" in error or "IOError" in error
    assert later == 1
    assert sorted(accepted) == sorted(job for (job,) in sql(path, "SELECT id FROM job"))


def test_a_damaged_row_is_discarded_by_name_and_the_others_run(path: Path) -> None:
    store = SqliteStore(path)
    first, damaged, last = put(store, new(), new(), new())
    store.close()
    sql(path, f"UPDATE job SET args = x'7b22' WHERE id = '{damaged}'")
    store = SqliteStore(path)
    jobs = claim(store, limit=10)
    assert [job.id for job in jobs] == [first, last]
    assert all(settle(store, job, Succeeded()) for job in jobs)
    assert "checksum" in store.get(damaged).result(10).damage
    assert sql(path, f"SELECT state FROM job WHERE id = '{damaged}'") == [["discarded"]]
    assert any(damaged in finding for finding in store.check().result(10))
    store.close()


def test_a_damaged_result_is_not_given_to_anybody(path: Path) -> None:
    store = SqliteStore(path)
    [job_id] = put(store)
    [job] = claim(store)
    assert settle(store, job, Succeeded(b"42"))
    sql(path, "UPDATE job SET result = x'3433'")
    record = store.get(job_id).result(10)
    assert record.result is None
    assert "its result is not what was written" in record.damage
    store.close()


def test_one_operation_that_fails_does_not_undo_its_neighbours(sqlite: SqliteStore) -> None:
    # Sent at once from an event loop, these share a transaction; the second fails after it has
    # written.
    async def send() -> list[Any]:
        jobs = new(id="the-same"), new(id="the-same"), new(id="other")
        return [sqlite.insert([each]) for each in jobs]

    ended = [_outcome(pending) for pending in asyncio.run(send())]
    assert ended == ["accepted", "refused", "accepted"]
    assert state(sqlite, "the-same") is State.AVAILABLE
    assert state(sqlite, "other") is State.AVAILABLE
    assert sqlite.check().result(10) == []


def _outcome(pending: Any) -> str:
    try:
        pending.result(10)
    except UsageError:
        return "refused"
    return "accepted"


# -- the descriptor trap ---------------------------------------------------------------------------

# POSIX drops all of a process's locks on a file when *any* of its descriptors for it is closed
# (fcntl(2)). SQLite's own locks live in the file; ours lie beside it, where nobody opens them.
TRY = "db = apsw.Connection(sys.argv[1]); db.set_busy_timeout(0)\n"


def test_the_trap_is_real_for_sqlites_own_locks(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE t (x)")
    db.execute("BEGIN EXCLUSIVE")
    attempt = (
        TRY + "try: db.execute('BEGIN EXCLUSIVE'); print('true')\n"
        "except apsw.BusyError: print('false')"
    )
    assert run_script(attempt, path) is False
    with path.open("rb"):
        pass
    assert run_script(attempt, path) is True
    db.execute("ROLLBACK")
    db.close()


def test_opening_and_closing_the_files_lets_nobody_into_our_transaction(path: Path) -> None:
    db = Database(str(path), "full")
    with db.writing():
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            with name.open("rb"):
                pass
        entered = run_script(
            "import fcntl\n"
            "file = os.open(sys.argv[1] + '.lock', os.O_RDWR)\n"
            "try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); print('true')\n"
            "except BlockingIOError: print('false')",
            path,
        )
        assert entered is False
    db.close()


def test_a_wal_that_was_deleted_under_us_is_noticed_before_anything_is_written_to_it(
    path: Path,
) -> None:
    store = SqliteStore(path)
    put(store, new(id="before"))
    # Another SQLite library in this process would do this when it closes the file.
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    os.unlink(f"{path}-wal")
    put(store, new(id="after"))
    store.close()
    assert sorted(job for (job,) in sql(path, "SELECT id FROM job")) == ["after", "before"]


def test_the_sockets_of_a_killed_process_are_removed_by_the_next_one(path: Path) -> None:
    run_script(
        "from conveyor.store.sqlite.store import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\n"
        "store.listen(['work', 'due'], print)\n"
        "sys.stdout.flush(); os._exit(0)",
        path,
    )
    bells = Path(f"{path}.bells")
    assert len(list(bells.iterdir())) == 2
    store = SqliteStore(path)
    store.listen(["work"], print)
    mine = [each.name for each in bells.iterdir()]
    assert len(mine) == 1
    assert mine[0].startswith(f"{os.getpid()}-")
    SqliteStore(path).close()  # does not take a living one for dead
    assert [each.name for each in bells.iterdir()] == mine
    store.close()


def test_a_forked_child_gets_a_connection_of_its_own(sqlite: SqliteStore) -> None:
    put(sqlite, new(id="parent"))
    child = os.fork()
    if child == 0:
        try:
            put(sqlite, new(id="child"))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must never go on in pytest
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    put(sqlite, new(id="parent again"))
    assert state(sqlite, "child") is State.AVAILABLE
    assert sqlite.check().result(10) == []


def test_a_fork_of_a_process_that_was_killed_in_the_middle_of_a_write_locks_nobody_out(
    path: Path, until: Callable[..., None]
) -> None:
    # The child keeps its output open, so nobody waits for that to end.
    script = (
        "import os, signal, sys, time\n"
        "from conveyor.system.file_lock import FileLock\n"
        "with FileLock(sys.argv[1], like=sys.argv[1]).exclusive():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        time.sleep(60)\n"
        "        os._exit(0)\n"
        "    print(child, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert process.wait(60) == -signal.SIGKILL
            with path.open() as file:
                until(lambda: _locks(file))  # the child may have yet to begin
        finally:
            os.kill(child, signal.SIGKILL)


def _locks(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
