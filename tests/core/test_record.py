"""Records as plain data: what `json.dumps` takes, with nothing decoded wrongly or lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from records import job

from conveyor.core.files import FileInfo
from conveyor.core.job import (
    AttemptError,
    ErrorInfo,
    Progress,
    QueueInfo,
    ScheduleInfo,
    State,
    StopNote,
    WorkerInfo,
)
from conveyor.core.record import Record

RECORDS = (
    job(args=b'{"to":"ann"}', result=b"[1,2]", stopping=(StopNote(1.0, "asked"),), retries=2),
    AttemptError(attempt=1, at=2.0, worker=None, became=State.RETRYABLE, error=ErrorInfo("E", "m")),
    ErrorInfo("E", "m", bases=("E", "B")),
    FileInfo(name="a", digest="0", size=1, kind="artifact"),
    Progress(1.0, 2.0, "half"),
    StopNote(1.0, "asked"),
    QueueInfo(name="q", capacity=1, paused=False, counts={State.AVAILABLE: 1}),
    ScheduleInfo(name="s", cron="@daily", timezone="UTC", missed="once", next_at=1.0),
    WorkerInfo(
        id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1,
        queues=("q",),
    ),
)  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_plain_data_that_json_dumps_takes(record: Record) -> None:
    data = record.to_dict()
    decoded = json.loads(json.dumps(data))
    assert decoded.keys() == data.keys()
    assert decoded == json.loads(json.dumps(plain(data)))


def plain(value: Any) -> Any:
    """Return the value if it is of the types of JSON, exactly: a subclass of str is not."""
    match value:
        case dict():
            return {plain(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            assert type(value) in (str, int, float, bool, type(None)), value
            return value


def test_a_job_as_plain_data_has_its_arguments_and_result_decoded() -> None:
    data = job(args=b'{"to":"ann","times":2}', result=b'{"sent":true}', retries=3).to_dict()
    assert data["args"] == {"to": "ann", "times": 2}
    assert data["result"] == {"sent": True}
    assert (data["state"], data["options"]) == ("running", {"retries": 3})
    assert job().to_dict()["result"] is None


def test_arguments_that_are_no_json_are_shown_as_text() -> None:
    data = job(args=b"\xff{", result=b"{").to_dict()
    assert (data["args"], data["result"]) == ("\ufffd{", "{")
    json.dumps(data)
