"""What stores decode: the rows of a file that may be damaged, arguments, results and options."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from harness import Target
from server_targets import DUMP, ERROR, JOB, OPTIONS, TOKEN, WORKER

from conveyor.core.codec import ArgsCodec, ResultCodec
from conveyor.core.explain import explain
from conveyor.core.job import JobRecord, QueueInfo
from conveyor.core.record import decode_json
from conveyor.core.storable import checked_record
from conveyor.errors import CorruptStoreError, EncodingError, UsageError
from conveyor.store.http.wire import JobView, decode_job, encode_job
from conveyor.store.messages import Leader
from conveyor.store.move_mark import MoveMark, mark_note, read_mark
from conveyor.store.overview_reader import scaler_facts
from conveyor.store.postgres.address import parse_address as postgres_address
from conveyor.store.sql import rows
from conveyor.store.sql.operations import admin, enqueue, marks, tasks, tokens, workers
from conveyor.store.sql.operations.enqueue import is_offer_intact
from conveyor.store.sql.operations.stacks import read_dump
from conveyor.store.sql.queue_state import decode_minute
from conveyor.store.sqlite.store import parse_address

decode_view = msgspec.json.Decoder(JobView).decode
MARK_OF_MOVE = MoveMark(id="m", role="target", other="jobs.db", part="jobs", after=(7, "name"))
INTEGERS = range(-(2**63), 2**63)
QUEUE = QueueInfo(name="q", capacity=5, paused=False, counts={})


def column(value: Any) -> Any:
    """Return what SQLite would read for a value: no NaN, 64 bits, and nested JSON as bytes."""
    match value:
        case bool():
            return int(value)
        case int():
            return value if value in INTEGERS else float(max(-(2**1000), min(value, 2**1000)))
        case float():
            return None if value != value else value  # noqa: PLR0124 - NaN is stored as NULL
        case {"blob": str() as text, **_rest}:
            return _blob(text)
        case str():
            return value.encode(errors="replace").decode()
        case list() | dict():
            return json.dumps(value).encode()
        case _:
            return value


def decode_mark(data: bytes) -> MoveMark:
    mark = read_mark([("conveyor move", "jobs.db", 0.0, 0.0, 0, data.decode(errors="replace"))])
    assert mark is not None
    return mark


def _blob(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode("utf-8", "surrogatepass")


def read_row(data: bytes, names: Sequence[str]) -> list[Any]:
    """Return a row with these columns from a JSON object; None for missing ones."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    given = found if isinstance(found, dict) else {"args": data, "options": data, "info": data}
    return [column(given.get(name)) for name in names]


ROW = {
    "seq": 1, "id": "j", "task": "t", "lane": 1, "args": {"a": 1}, "state": "running",
    "priority": 0, "run_at": 1.0, "enqueued_at": 1.0, "attempt": 1, "lease": 1, "crashes": 0,
    "worker": "w", "lease_until": 2.0, "started_at": 1.5, "result": [1], "error": "e",
    "progress": {"done": 1}, "cancel_forced": 0, "stopping": [{"at": 1, "text": "t"}],
    "options": OPTIONS,
}  # fmt: skip
FRESH = {
    **{name: ROW[name] for name in ("seq", "id", "task", "lane", "args", "priority", "options")},
    "state": "available", "run_at": 1.0, "enqueued_at": 1.0, "attempt": 0, "lease": 0,
    "crashes": 0, "cancel_forced": 0,
}  # fmt: skip


def decode_job_row(data: bytes) -> JobRecord:
    """Read a row whose checksums are right, if it can have any, and pass the job on."""
    names = rows.COLUMNS["job"]
    row = read_row(data, names)
    place = {name: number for number, name in enumerate(names)}
    if type(row[0]) is not int:  # it is the key of the table, so always an integer
        row[0] = 1
    accepted = [row[place[name]] for name in ("id", "task", "args", "options")]
    if list(map(type, accepted)) == [str, str, bytes, bytes]:
        try:
            row[place["checksum"]] = rows.checksum(*accepted)
        except UnicodeEncodeError:
            row[place["checksum"]] = 0
    result = row[place["result"]]
    if isinstance(result, bytes):
        row[place["result_checksum"]] = rows.crc32(result)
    job = rows.to_record(tuple(row), "q")
    rows.claim_order(tuple(row))
    rows.is_accepted_part_intact(tuple(row))
    rows.to_params(job)
    for each in (job, checked_record(job)):
        repr(each.to_dict())
        explain(each, queue=QUEUE, ahead=0, workers=[], now=1.0)
    sent = msgspec.json.encode(encode_job(job))
    msgspec.json.decode(sent)
    decode_job(decode_view(sent))
    return job


def decode_token_row(data: bytes) -> None:
    row = tuple(read_row(data, rows.COLUMNS["token"]))
    token = tokens._token(row)
    if not tokens.is_intact(row):
        return
    msgspec.json.encode(token)


def decode_worker_row(data: bytes) -> None:
    worker, beat_at, info, number = read_row(data, ("worker", "beat_at", "info", "number"))
    row = (worker, beat_at, info, number)
    msgspec.json.encode(workers._worker(*row[:3]))
    workers.is_intact(row)
    workers._order(number)


def decode_offer_row(data: bytes) -> None:
    is_offer_intact(tuple(read_row(data, ("seq", "queue", "until", "request", "answer"))))


def decode_task_row(data: bytes) -> None:
    [defaults] = read_row(b'{"info":%b}' % data, ("info",))
    msgspec.json.encode(tasks.read_defaults(defaults))


def dump(value: Any) -> list[bytes]:
    return [json.dumps(value).encode()]


def decode_mark_row(data: bytes) -> None:
    row = read_row(data, ("seq", "at", "kind", "text", "who", "scope"))
    if type(row[0]) is not int:  # it is the key of the table
        row[0] = 1
    msgspec.json.encode(marks._mark(tuple(row)))


def decode_scaler_note(data: bytes) -> None:
    note = data.decode(errors="replace")
    msgspec.json.encode(scaler_facts(Leader("n", "h", until=1.0, since=1.0, term=1, note=note)))


def decode_history_row(data: bytes) -> None:
    names = ("attempt", "at", "worker", "became", "error", "started_at", "due_at", "lease", "alike")
    msgspec.json.encode(admin.attempt_error(1, *read_row(data, names)))


def decode_lane(data: bytes) -> None:
    rows.decode_labels(read_row(b'{"requires":%b}' % data, ("requires",))[0])


def decode_answer(data: bytes) -> Any:
    return enqueue._read_answer(data)


class Plain(msgspec.Struct):
    x: int
    y: list[float] = []


def sample(
    a: int,
    b: str = "",
    c: dict[str, list[int]] | None = None,
    d: dt.datetime | None = None,
    e: Plain | None = None,
    f: bytes = b"",
    g: UUID | None = None,
    h: tuple[int, ...] = (),
    i: set[str] | None = None,
    **more: float,
) -> dict[str, Any]:
    return {}


ARGS, RESULT = ArgsCodec(sample), ResultCodec(sample)
CALLS = (
    b'{"a":1,"b":"x","c":{"k":[1]},"more":{"z":1.5}}',
    b'{"a":-5,"d":"2024-01-01T00:00:00Z","e":{"x":1,"y":[0.5]},"f":"eA=="}',
    b'{"a":9007199254740993,"g":"12345678-1234-5678-1234-567812345678","h":[1,2],"i":["a","b"]}',
)


def encode_call(call: tuple[tuple[Any, ...], dict[str, Any]]) -> bytes:
    return ARGS.encode(*call)


def store_targets() -> list[Target]:
    """Return the targets of stores and codecs. Nothing in a row may raise anything."""
    token = {**TOKEN, "scopes": '["read"]', "queues": '["q"]'}
    worker = {"worker": "w", "beat_at": 1.0, "info": WORKER, "number": 1}
    offer = {"seq": 1, "queue": "q", "until": 1.0, "request": [{**JOB, "args": "e30="}],
             "answer": {"ids": ["j"]}}  # fmt: skip
    history = {"attempt": 1, "at": 1.0, "worker": "w", "became": "retryable", "error": ERROR,
               "started_at": 1.0, "due_at": 1.0, "lease": 1, "alike": "f"}  # fmt: skip
    return [
        Target("row of a job", decode_job_row, [*dump(ROW), *dump(FRESH)]),
        Target("row of a token", decode_token_row, [json.dumps(token).encode()]),
        Target("row of a worker", decode_worker_row, [json.dumps(worker).encode()]),
        Target("row of an offer", decode_offer_row, [json.dumps(offer).encode()]),
        Target("row of the history", decode_history_row, [json.dumps(history).encode()]),
        Target("row of a mark", decode_mark_row,
               dump({"seq": 1, "at": 1.0, "kind": "release", "text": "v1", "who": "w",
                     "scope": '["q"]'})),
        Target("minute of a queue", lambda data: decode_minute(data.decode(errors="replace")),
               [b"[64,145,2000]", b"null"]),
        Target("note of a scaler to sum up", decode_scaler_note,
               [b'{"status":{"at":1.0,"every":5.0,"held":["a"],"blind":{"p":"why"}}}']),
        Target("row of a stack", read_dump, [json.dumps(DUMP).encode()]),
        Target("row of a task", decode_task_row, dump({"name": "t", "options": OPTIONS})),
        Target("address of a SQLite store", lambda data: parse_address(os.fsdecode(data)),
               [b"jobs.db", b"sqlite:///jobs.db?durability=full"], (UsageError,)),
        Target("address of a PostgreSQL store", lambda data: postgres_address(os.fsdecode(data)),
               [b"postgresql://u:p@h:1/db?schema=a&connections=5"], (UsageError,)),
        Target("labels of a lane", decode_lane, [b'["gpu","linux"]']),
        Target("note of a move", decode_mark, [mark_note(MARK_OF_MOVE).encode()],
               (CorruptStoreError,), lambda mark: mark_note(mark).encode()),
        Target("answer to an offer", decode_answer, [b'{"ids":["j"]}'], (Exception,)),
        Target("arguments", ARGS.decode, CALLS, (EncodingError,), encode_call),
        Target("result", RESULT.decode, [b'{"a":[1,"x",null,1.5]}'], (EncodingError,),
               lambda value: RESULT.encode(value, "t") or b"null"),
        Target("JSON to show", decode_json, [b'{"a":[1]}']),
    ]  # fmt: skip
