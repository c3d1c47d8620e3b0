"""Captured output: each job's apart, cut at its limit, in chunks a store can keep."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading

import msgspec
import pytest
from runner_helpers import RecordingSink, call, record, run_jobs

from conveyor.core.job import Progress
from conveyor.core.job_context import CURRENT
from conveyor.runners.capture import OutputBuffer, capture_output
from conveyor.runners.coroutine import CoroutineRunner
from conveyor.runners.thread import ThreadRunner


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_output_of_concurrent_jobs_does_not_mix():
    log = logging.getLogger("jobs")
    sink = RecordingSink()

    async def coroutine(mark: str) -> None:
        for number in range(20):
            print(mark, end=" ")
            log.warning("%s %d", mark, number)
            await asyncio.sleep(0)
            print(number)

    def blocking(mark: str) -> None:
        for number in range(20):
            print(mark, end=" ")
            sys.stderr.write(f"{mark} {number}\n")
            print(number)

    names = [f"job-{number}" for number in range(5)]
    with capture_output():
        run_jobs(CoroutineRunner, *(call(coroutine, f"c{n}", sink=sink, id=f"c{n}") for n in names))
        run_jobs(
            lambda: ThreadRunner(5),
            *(call(blocking, f"t{n}", sink=sink, id=f"t{n}") for n in names),
        )
    for name in names:
        for mark in (f"c{name}", f"t{name}"):
            assert sink.text("stdout", mark) == "".join(f"{mark} {n}\n" for n in range(20))
        assert sink.text("stderr", f"t{name}").splitlines()[-1] == f"t{name} 19"
        logged = sink.text("log", f"c{name}").splitlines()
        assert len(logged) == 20
        assert logged[0].endswith(f"WARNING jobs: c{name} 0")


def test_output_outside_of_jobs_is_not_captured(capsys: pytest.CaptureFixture[str]):
    with capture_output():
        print("to the worker's own stdout")
        sys.stdout.buffer.write(b"and bytes\n")
        sys.stdout.flush()
    assert capsys.readouterr().out == "to the worker's own stdout\nand bytes\n"


def test_a_job_can_use_stdout_as_usual():
    sink = RecordingSink()

    def work() -> None:
        assert not sys.stdout.isatty()
        assert sys.stdout.encoding == "utf-8"
        sys.stdout.writelines(["text, ", "no character: \udce9, "])
        sys.stdout.flush()
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.close()
        print("after the close")

    with capture_output():
        run_jobs(lambda: ThreadRunner(1), call(work, sink=sink))
    assert sink.text() == "text, no character: \\udce9, bytes\nafter the close\n"


def test_captures_may_be_nested_and_leave_everything_as_it_was():
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    with capture_output():
        inner = sys.stdout
        with capture_output():
            assert sys.stdout is inner
        assert sys.stdout is inner
    assert before == (sys.stdout, sys.stderr, logging.getLogger().handlers)


def test_a_stream_that_other_code_has_replaced_is_not_restored():
    original = sys.stdout
    try:
        with capture_output():
            sys.stdout = theirs = io.StringIO()
        assert sys.stdout is theirs
    finally:
        sys.stdout = original


def test_small_writes_become_one_chunk_and_offsets_continue():
    clock = Clock()
    output = OutputBuffer(now=clock)
    job = record("task")
    for _ in range(3):
        output.write(job, "stdout", b"abc")
    output.write(job, "stderr", b"e")
    output.write(job, "stdout", b"d")
    first = output.take_output()
    assert [(c.stream, c.offset, c.data) for c in first] == [
        ("stdout", 0, b"abcabcabc"),
        ("stderr", 9, b"e"),
        ("stdout", 10, b"d"),
    ]
    assert all((c.job_id, c.lease, c.at) == ("job", 7, 100.0) for c in first)
    assert output.take_output() == []
    output.write(job, "stdout", b"later")
    assert [(c.offset, c.data) for c in output.take_output()] == [(11, b"later")]


def test_large_writes_are_split_into_chunks():
    output = OutputBuffer()
    job = record("task")
    output.write(job, "stdout", b"a" * 10)
    output.write(job, "stdout", b"b" * 200_000)
    chunks = output.take_output()
    assert [len(chunk.data) for chunk in chunks] == [65536, 65536, 65536, 3402]
    assert [chunk.offset for chunk in chunks] == [0, 65536, 131072, 196608]
    assert b"".join(chunk.data for chunk in chunks) == b"a" * 10 + b"b" * 200_000


def test_output_is_cut_at_its_limit_with_one_mark():
    output = OutputBuffer()
    job = record("task", output_limit=10)
    for _ in range(5):
        output.write(job, "stdout", b"1234")
    kept = [(c.stream, c.offset, c.data) for c in output.take_output()]
    assert kept[0] == ("stdout", 0, b"1234123412")
    stream, offset, mark = kept[1]
    assert (stream, offset) == ("mark", 10)
    assert b"output cut at 10 bytes; raise output_limit" in mark
    output.write(job, "stderr", b"more")
    assert output.take_output() == []


def test_output_of_exactly_the_limit_has_no_mark():
    output = OutputBuffer()
    output.write(record("task", output_limit=4), "stdout", b"1234")
    assert [chunk.data for chunk in output.take_output()] == [b"1234"]


def test_the_output_limit_counts_anew_for_each_attempt():
    output = OutputBuffer()
    job = record("task", output_limit=4)
    output.write(job, "stdout", b"12345")
    output.finish(job)
    assert len(output.take_output()) == 2
    output.write(job, "stdout", b"6")
    assert [(chunk.offset, chunk.data) for chunk in output.take_output()] == [(0, b"6")]


def test_the_output_of_a_lost_job_is_discarded():
    output = OutputBuffer()
    job = record("task")
    output.write(job, "stdout", b"1")
    output.set_progress(job, Progress(1))
    output.discard(job)
    assert output.take_output() == []
    assert output.take_progress() == []


def test_only_the_newest_progress_is_kept():
    output = OutputBuffer()
    job, other = record("task"), record("task", id="other")
    for done in range(100):
        output.set_progress(job, Progress(float(done)))
    output.set_progress(other, Progress(5.0))
    assert output.take_progress() == [(job, Progress(99.0)), (other, Progress(5.0))]
    assert output.take_progress() == []


def test_many_threads_can_write_while_one_sends():
    output = OutputBuffer()
    taken: list[bytes] = []
    jobs = [record("task", id=f"job-{number}") for number in range(4)]

    def write(number: int) -> None:
        for _ in range(2000):
            output.write(jobs[number], "stdout", b"0123456789")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += [chunk.data for chunk in output.take_output()]
    taken += [chunk.data for chunk in output.take_output()]
    assert sum(map(len, taken)) == 4 * 20_000
    assert CURRENT.get() is None


def test_output_that_is_sent_in_pieces_is_complete():
    output = OutputBuffer()
    jobs = [record("task"), msgspec.structs.replace(record("task"), id="other")]
    for job in jobs:
        output.write(job, "stdout", job.id.encode() * 100_000)
    taken = []
    while chunks := output.take_output(100_000):
        assert sum(len(chunk.data) for chunk in chunks) <= 100_000 + 65536
        taken += chunks
    for job in jobs:
        mine = [chunk for chunk in taken if chunk.job_id == job.id]
        assert b"".join(chunk.data for chunk in mine) == job.id.encode() * 100_000
        assert [c.offset for c in mine] == sorted(c.offset for c in mine)


def test_output_beyond_the_memory_limit_is_spilled_to_a_file_in_order():
    output = OutputBuffer(memory_limit=100_000)
    job = record("task", output_limit=10_000_000)
    written = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    for start in range(0, len(written), 3001):
        output.write(job, "stdout", written[start : start + 3001])
    assert output.bytes_in_memory <= 100_000 + 2 * 65536
    taken = [chunk.data for chunk in output.take_output(1_000_000)]
    output.write(job, "stdout", b"and more")
    while chunks := output.take_output(1_000_000):
        taken += [chunk.data for chunk in chunks]
    assert b"".join(taken) == written + b"and more"
    assert output.bytes_in_memory == 0


def test_discarded_output_frees_its_space_in_the_file():
    output = OutputBuffer(memory_limit=10)
    job = record("task", output_limit=10_000_000)
    output.write(job, "stdout", bytes(1_000_000))
    output.discard(job)
    assert output.bytes_in_memory == 0
    assert output.take_output() == []
    output.write(job, "stdout", b"anew")
    assert [chunk.data for chunk in output.take_output()] == [b"anew"]
