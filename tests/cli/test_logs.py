"""`conveyor logs`."""

from __future__ import annotations

import json

import pytest
from shell import Command, Start, serve

from conveyor import Conveyor
from conveyor.cli.shared.job_output import OutputDecoder
from conveyor.core.job import OutputChunk, Stream
from conveyor.core.lifecycle import Interrupted
from conveyor.store.messages import Claimant, Report, Want


def test_logs_prints_what_a_job_wrote(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("logs", job.id).out == "sending to ann\ncareful\n"
    assert conveyor("logs", job.id, "--stream", "stderr").out == "careful\n"
    lines = [json.loads(line) for line in conveyor("logs", job.id, "--json").out.splitlines()]
    assert [line["stream"] for line in lines] == ["stdout", "stderr"]


def test_logs_follows_a_running_job_to_its_end(
    conveyor: Command, belt: Conveyor, start: Start
) -> None:
    job = belt.functions["steps"].enqueue()
    worker = serve(start)
    assert conveyor("logs", "-f", job.id).out == "step 0\nstep 1\nstep 2\n"
    record = job.refresh().record
    assert record.progress is not None
    assert (record.progress.done, record.progress.total) == (3, 3)
    worker.terminate()
    assert worker.wait(30) == 0


def write(belt: Conveyor, *chunks: tuple[int, bytes]) -> str:
    """Store a running job with these chunks of output, each with its attempt's lease."""
    store = belt.store
    job_id = belt.functions["send"].enqueue("ann").id
    held = 0
    for offset, (lease, data) in enumerate(chunks):
        while held < lease:
            if held:
                store.settle([Report(job_id, held, Interrupted())]).result()
            [job] = store.claim([Want("mail", 1)], Claimant("w", 60.0), limit=1).result().jobs
            held = job.lease
        chunk = OutputChunk(
            job_id=job_id, lease=lease, offset=offset * 100, stream="stdout", at=0.0, data=data
        )
        store.write_output([chunk]).result()
    return job_id


@pytest.mark.parametrize("cut", range(1, 10))
def test_json_keeps_characters_that_two_chunks_share(
    conveyor: Command, belt: Conveyor, cut: int
) -> None:
    text = "né日🎉".encode()
    job_id = write(belt, (1, text[:cut]), (1, text[cut:]))
    lines = [json.loads(line) for line in conveyor("logs", job_id, "--json").out.splitlines()]
    assert "".join(line["data"] for line in lines) == "né日🎉"


def test_json_shows_bytes_that_are_no_characters(conveyor: Command, belt: Conveyor) -> None:
    job_id = write(belt, (1, b"a\xe6\x97"), (2, b"\xa5b\xf0"))
    lines = [json.loads(line) for line in conveyor("logs", job_id, "--json").out.splitlines()]
    assert "".join(line["data"] for line in lines if line["lease"] == 1) == "a\ufffd"
    assert "".join(line["data"] for line in lines if line["lease"] == 2) == "\ufffdb\ufffd"


def test_a_character_is_completed_by_its_own_stream_only() -> None:
    decoder = OutputDecoder()
    streams: list[tuple[Stream, bytes]] = [
        ("stdout", b"\xc3"),
        ("stderr", b"x"),
        ("stdout", b"\xa9"),
    ]
    chunks = [
        OutputChunk(job_id="j", lease=1, offset=0, stream=stream, at=0.0, data=data)
        for stream, data in streams
    ]
    assert [decoder.decode(chunk) for chunk in chunks] == ["", "x", "é"]
    assert list(decoder.rest()) == []


def test_a_line_on_stderr_separates_attempts(conveyor: Command, belt: Conveyor) -> None:
    job_id = write(belt, (1, b"one"), (1, b"two"), (2, b"three\n"), (3, b"four\n"))
    ran = conveyor("logs", job_id)
    assert ran.out == "onetwothree\nfour\n"
    assert ran.err.splitlines() == [
        "",
        "--- next attempt (lease 2) ---",
        "--- next attempt (lease 3) ---",
    ]


def test_following_says_how_a_job_ended_that_did_not_complete(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("ann")
    job.cancel(reason="by hand")
    ran = conveyor("logs", "-f", job.id)
    assert ran.code == 0
    assert f"job {job.id} is cancelled" in ran.err
    assert "by hand" in ran.err
