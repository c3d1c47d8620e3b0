"""No queue at all: an INSERT of a key and a payload, and its commit, with psycopg."""

from __future__ import annotations

import uuid

import jobs
import psycopg

WORKER = None
DRAINED = 0

session = psycopg.connect(jobs.SERVER, autocommit=True, prepare_threshold=0)
cursor = session.cursor(binary=True)


async def setup() -> None:
    session.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, payload BYTEA NOT NULL)")


async def start() -> None: ...


def send_blocking() -> None:
    cursor.execute("INSERT INTO bare VALUES (%b, %b)", (str(uuid.uuid4()), b"{}"))


async def close() -> None:
    session.close()
