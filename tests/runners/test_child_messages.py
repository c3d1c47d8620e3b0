"""What a job writes to its child's pipe itself costs the worker neither memory nor other jobs."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import job_functions
from runner_helpers import RecordingSink, process, run_jobs, value

from conveyor.core.files import FILES_LIMIT
from conveyor.runners.child_protocol import MAX_MESSAGE, ChildReady, MessageReader, encode
from conveyor.runners.process import ProcessRunner

READY = encode(ChildReady()) + b"\n"


def read_all(*writes: bytes, limit: int) -> list[Any]:
    """Return what a reader makes of what is written to its pipe."""

    async def main() -> list[Any]:
        seen: list[Any] = []
        read_end, write_end = os.pipe()
        reader = MessageReader(read_end, seen.append, limit)
        for data in writes:
            os.write(write_end, data)
            while reader.read():
                continue
        os.close(write_end)
        reader.close()
        return seen

    return asyncio.run(main())


def test_a_line_without_an_end_is_dropped_when_it_is_too_long() -> None:
    assert read_all(*[b"x" * 1000] * 9, limit=1999) == [None] * 4
    assert read_all(b"x" * 1999, b"y\n", READY, limit=2000) == [None, ChildReady()]
    assert read_all(READY[:5], READY[5:], limit=100) == [ChildReady()]


def test_a_log_record_of_many_megabytes_reaches_the_output() -> None:
    sink = RecordingSink()
    size = MAX_MESSAGE + 1
    job = process(job_functions.log_much, size, sink=sink)
    assert value(run_jobs(lambda: ProcessRunner(1), job)[0]) is None
    assert sink.text("log").count("x") >= size


def test_a_job_that_names_artifacts_without_end_fills_no_memory() -> None:
    job = process(job_functions.double, 1)
    for number in range(2 * FILES_LIMIT):
        job.register_artifact(str(number), "/a")
    job.register_artifact("0", "/b")
    assert len(job.artifacts) == FILES_LIMIT + 1  # which fails the job
    assert job.artifacts["0"] == "/b"
