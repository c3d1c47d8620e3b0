"""A job that waits for a lost server can be stopped."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from calls import new, put

from conveyor.core.job_context import CURRENT, CurrentJob, Settable
from conveyor.errors import ConveyorError, JobCancelledError
from conveyor.store.postgres.connection import Connection, LostError
from conveyor.store.postgres.store import PostgresStore


class Waits(dict[Settable, str]):
    """What a job waits for; sets an event once that is something."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.seen: set[str] = set()

    def __setitem__(self, event: Settable, what: str) -> None:
        super().__setitem__(event, what)
        self.seen.add(what)
        self.began.set()


class Link:
    """A running job without a worker."""

    def __init__(self) -> None:
        self.job = SimpleNamespace(id="runs")
        self.waits = Waits()
        self.stopping = False


def test_a_job_that_waits_for_a_lost_server_hears_that_it_must_stop(
    postgres: PostgresStore,
) -> None:
    def refuse() -> Connection:
        raise LostError("cannot be reached")

    pool = postgres._driver._opened.transactions._pool  # type: ignore[attr-defined]
    pool.discard()
    pool._connect = refuse
    link = Link()
    answers: list[object] = []

    def run_job() -> None:
        CURRENT.set(CurrentJob(link))  # type: ignore[arg-type]
        try:
            put(postgres, new())
        except ConveyorError as error:
            answers.append(error)

    job = threading.Thread(target=run_job, daemon=True)
    job.start()
    assert link.waits.began.wait(30)
    link.stopping = True
    job.join(60)
    assert link.waits.seen == {"the PostgreSQL server"}
    assert [type(answer) for answer in answers] == [JobCancelledError]
