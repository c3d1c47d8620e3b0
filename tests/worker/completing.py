"""A database with jobs and what they write, and functions that complete in other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg

from conveyor import Conveyor, Job, current_job

SCHEMA_LOST = "UPDATE {schema}.job SET lease = 2, worker = 'other', lease_until = 9e9 WHERE id = %s"


@dataclass
class Place:
    """A database with jobs and a table of effects."""

    belt: Conveyor
    server: str
    effects_table: str

    def insert(self, session: Any) -> None:
        job = current_job()
        session.execute(f"INSERT INTO {self.effects_table} VALUES ('{job.id}', {job.attempt})")

    @property
    def effects(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.server) as session:
            rows = session.execute(f"SELECT * FROM {self.effects_table} ORDER BY 1, 2").fetchall()
        return [(job, attempt) for job, attempt in rows]

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Job[Any]:
        """Run one job to its end."""
        job = self.belt.task(name="t", backoff=0, **options)(function).enqueue(*args)
        self.belt.work(timeout=60, queues=["default"], keep=False)
        return job.refresh()


def completes(server: str, table: str, after: str = "") -> int | str:
    """Complete the job in the transaction of its write, and then do what `after` names."""
    job = current_job()
    print("before")
    with psycopg.connect(server) as session:
        session.execute(f"INSERT INTO {table} VALUES (%s, %s)".encode(), (job.id, job.attempt))
        job.complete_in(session, os.getpid())
    print("after")
    match after:
        case "raise":
            raise ValueError("too late")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(60)
    return "from the function"


def rolls_back(server: str, table: str) -> None:
    """Write and complete, and take both back; succeed at the second attempt."""
    job = current_job()
    with closing(psycopg.connect(server)) as session:
        session.execute(f"INSERT INTO {table} VALUES (%s, %s)".encode(), (job.id, job.attempt))
        job.complete_in(session)
        if job.attempt == 1:
            session.rollback()
            raise ValueError("once more")
        session.commit()


def loses_its_lease(server: str, table: str, schema: str, when: str) -> None:
    """Have another worker hold the job before the call, or before the commit."""
    job = current_job()

    def lose() -> None:
        with psycopg.connect(server, autocommit=True) as beside:
            beside.execute(SCHEMA_LOST.format(schema=schema).encode(), (job.id,))

    with closing(psycopg.connect(server)) as session, session:
        session.execute(f"INSERT INTO {table} VALUES (%s, %s)".encode(), (job.id, job.attempt))
        if when == "before the call":
            lose()
        job.complete_in(session)
        if when == "before the commit":
            lose()


def completes_elsewhere(server: str) -> str:
    """Try to complete a job of another store; return the error."""
    with psycopg.connect(server) as session:
        try:
            current_job().complete_in(session, "")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return f"{type(error).__name__}: {error}"
    return ""
