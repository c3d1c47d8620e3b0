"""Contents beside a SQLite file: where they lie, and that many may write and remove at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from calls import new, put

from conveyor.core.files import PIECE, InputFile
from conveyor.errors import UnavailableError, UsageError
from conveyor.store.blobs.directory import BlobDirectory
from conveyor.store.messages import Content
from conveyor.store.protocol_files import UNUSED
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

DATA = os.urandom(PIECE) + b"and a little more"
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def sqlite(tmp_path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")
    yield opened
    opened.close()


def send(store: SqliteStore) -> None:
    state = store.content(NAME).result()
    while not state.whole:
        piece = DATA[state.size : state.size + PIECE]
        last = state.size + len(piece) == len(DATA)
        state = store.write_content(NAME, state.size, piece, last=last).result()


def test_a_content_lies_under_its_name_once_it_is_whole(
    sqlite: SqliteStore, tmp_path: Path
) -> None:
    folder = tmp_path / "jobs.db.files" / NAME[:2]
    assert sqlite.content(NAME).result() == Content(0, whole=False)
    assert not folder.parent.exists()
    sqlite.write_content(NAME, 0, DATA[:PIECE], last=False).result()
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.part"]
    sqlite.write_content(NAME, PIECE, DATA[PIECE:], last=True).result()
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == DATA


def test_what_is_there_survives_a_reopening(
    sqlite: SqliteStore, tmp_path: Path, clock: FakeClock
) -> None:
    sqlite.write_content(NAME, 0, DATA[:PIECE], last=False).result()
    again = SqliteStore(tmp_path / "jobs.db", clock=clock)
    assert again.content(NAME).result() == Content(PIECE, whole=False)
    send(again)
    again.close()
    assert sqlite.content(NAME).result() == Content(len(DATA), whole=True)


def test_many_may_send_the_same_content_at_once(sqlite: SqliteStore, tmp_path: Path) -> None:
    for number in range(100):
        data = f"content {number}".encode()
        digest = hashlib.sha256(data).hexdigest()
        start = threading.Barrier(4)

        def send_in_pieces(digest: str = digest, data: bytes = data, start: Any = start) -> None:
            start.wait()
            for offset in range(len(data)):
                piece, last = data[offset : offset + 1], offset == len(data) - 1
                sqlite.write_content(digest, offset, piece, last=last).result()

        threads = [threading.Thread(target=send_in_pieces) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sqlite.read_content(digest, 0, 99).result() == data
    assert not list(tmp_path.rglob("*.part"))


def test_a_content_that_is_asked_for_while_others_sweep_stays(
    sqlite: SqliteStore, clock: FakeClock
) -> None:
    for _ in range(20):
        send(sqlite)
        clock.advance(UNUSED + 1)
        sweeper = threading.Thread(target=lambda: sqlite.sweep_contents(limit=9).result())
        sweeper.start()
        file = InputFile(name="a", digest=NAME, size=len(DATA))
        try:
            [job_id] = put(sqlite, new(files=(file,)))
        except UsageError:  # the sweep was first: that was said, and the job is not there
            job_id = ""
        sweeper.join()
        if job_id:
            assert sqlite.content(NAME).result().whole
            sqlite.cancel(job_id, reason="").result()
            sqlite.delete(job_id).result()


def test_what_was_needed_since_it_was_looked_for_is_not_removed(
    tmp_path: Path, clock: FakeClock
) -> None:
    contents = BlobDirectory(str(tmp_path / "files"), clock.now)
    contents.write(NAME, 0, DATA[:9], last=False)
    clock.advance(10)
    moment = clock.now() - 5
    assert contents.unused_since(moment) == [NAME]
    contents.look(NAME)
    assert not contents.remove(NAME, moment)
    clock.advance(10)
    assert contents.remove(NAME, clock.now())


def test_a_forked_child_reads_and_writes_too(sqlite: SqliteStore) -> None:
    async def look() -> Content:
        return await sqlite.content(NAME)

    assert asyncio.run(look()) == Content(0, whole=False)
    child = os.fork()
    if not child:
        code = 1
        try:
            send(sqlite)
            code = 0 if asyncio.run(look()).whole else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(look()).whole


def test_a_folder_that_cannot_be_used_is_named(sqlite: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "jobs.db.files").write_text("a file")
    with pytest.raises(UnavailableError, match=r"jobs\.db\.files"):
        sqlite.write_content(NAME, 0, b"x", last=False).result()


def test_a_sweep_leaves_alone_what_is_no_content(
    sqlite: SqliteStore, tmp_path: Path, clock: FakeClock
) -> None:
    send(sqlite)
    stranger = tmp_path / "jobs.db.files" / NAME[:2] / "README"
    stranger.write_text("x")
    clock.advance(UNUSED + 1)
    os.utime(stranger, (0, 0))
    assert sqlite.sweep_contents(limit=9).result() == 1
    assert stranger.exists()


def test_a_whole_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, clock: FakeClock
) -> None:
    directory = BlobDirectory(str(tmp_path / "files"), clock.now)
    called: list[str] = []

    def note(_frame: FrameType, event: str, called_function: object) -> None:
        if event == "c_call" and called_function in (os.fsync, os.rename):
            called.append(getattr(called_function, "__name__", ""))

    sys.setprofile(note)
    try:
        directory.write(NAME, 0, DATA[:PIECE], last=False)
        directory.write(NAME, PIECE, DATA[PIECE:], last=True)
    finally:
        sys.setprofile(None)
    # The content, its name, and the directory that holds the name.
    assert called == ["fsync", "rename", "fsync"]
