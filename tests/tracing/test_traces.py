"""Traces across jobs, with the SDK's exporter in memory: who is whose parent, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags
from served import Serving
from traced_belt import PARENT, close, insert, only, parent_of, use, work
from traced_jobs import KINDS, belt, chain, current, fails, in_coroutine, snoozes

from conveyor import QueueFullError
from conveyor.core.job import NewJob, State
from conveyor.core.trace_context import TraceContext
from conveyor.errors import UsageError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.open import open_store
from conveyor.store.protocol import Store
from spans import Recorded, context, linked, recording, span_id, trace_id, use_provider


@pytest.fixture(params=["memory", "sqlite", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Have the belt use a store of each kind; return that store."""
    if request.param == "http":
        behind = MemoryStore()
        server = Serving(behind)
        opened = open_store(server.url)
    else:
        opened = open_store("memory:" if request.param == "memory" else str(tmp_path / "jobs.db"))
    use(opened)
    yield opened
    close()
    if request.param == "http":
        server.close()
        behind.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_its_enqueue_and_the_job_are_one_trace_in_every_store(
    place: Store, recorded: Recorded, kind: str
) -> None:
    with recorded.tracer.start_as_current_span("GET /order") as request:
        job = KINDS[kind].enqueue()
    work()
    sent, processed = only(recorded.sent), only(recorded.processed)
    assert parent_of(sent) == f"{request.get_span_context().span_id:016x}"
    assert parent_of(processed) == span_id(sent)
    assert linked(processed) == [span_id(sent)]
    assert trace_id(processed) == f"{request.get_span_context().trace_id:032x}"
    assert job.result(1) == f"{trace_id(processed)}-{span_id(processed)}"


def test_spans_are_named_and_described_by_the_conventions_for_messaging(
    memory: MemoryStore, recorded: Recorded
) -> None:
    job = in_coroutine.enqueue()
    work()
    sent, processed = only(recorded.sent), only(recorded.processed)
    common = {
        "messaging.system": "conveyor",
        "messaging.destination.name": "q",
        "messaging.message.id": job.id,
        "conveyor.task": "coroutine",
    }
    assert (sent.name, sent.kind) == ("send q", SpanKind.PRODUCER)
    assert sent.attributes == {
        **common,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    assert (processed.name, processed.kind) == ("process q", SpanKind.CONSUMER)
    record = memory.get(job.id).result()
    assert processed.attributes == {
        **common,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.client.id": record.worker,
        "conveyor.attempt": 1,
        "conveyor.outcome": "succeeded",
    }
    assert processed.status.status_code is StatusCode.UNSET


def test_jobs_that_are_enqueued_at_once_have_traces_of_their_own_with_a_link(
    place: Store, recorded: Recorded
) -> None:
    in_coroutine.enqueue_many([(), (), ()])
    work()
    sent = only(recorded.sent)
    assert sent.attributes is not None
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in sent.attributes
    assert len(recorded.processed) == 3
    assert {tuple(linked(each)) for each in recorded.processed} == {(span_id(sent),)}
    assert [parent_of(each) for each in recorded.processed] == [None] * 3
    assert len({trace_id(each) for each in recorded.all}) == 4


def test_a_batch_of_one_is_a_job_alone(memory: MemoryStore, recorded: Recorded) -> None:
    in_coroutine.enqueue_many([()])
    work()
    assert parent_of(only(recorded.processed)) == span_id(only(recorded.sent))


def test_each_attempt_is_a_span_with_the_error_that_ended_it(
    place: Store, recorded: Recorded
) -> None:
    fails.enqueue()
    work()
    place.stage(limit=10).result()  # a server's maintenance would
    work()
    first, second = recorded.processed
    sent = only(recorded.sent)
    for attempt, span in enumerate((first, second), start=1):
        assert parent_of(span) == span_id(sent)
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "no such thing"
        assert span.attributes is not None
        assert span.attributes["error.type"] == "LookupError"
        assert span.attributes["conveyor.attempt"] == attempt
        assert span.attributes["conveyor.outcome"] == "failed"
        [event] = span.events
        assert event.attributes is not None
        assert event.name == "exception"
        assert event.attributes["exception.type"] == "LookupError"
        assert event.attributes["exception.message"] == "no such thing"
        assert 'raise LookupError("no such thing")' in str(event.attributes["exception.stacktrace"])


def test_an_attempt_that_snoozes_has_not_failed(memory: MemoryStore, recorded: Recorded) -> None:
    snoozes.enqueue()
    work()
    span = only(recorded.processed)
    assert span.attributes is not None
    assert span.attributes["conveyor.outcome"] == "snoozed"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_an_enqueue_that_is_refused_is_a_span_with_the_error(
    memory: MemoryStore, recorded: Recorded
) -> None:
    memory.insert([NewJob(id="a", task="t", queue="full")], capacity=1).result()
    full = belt.queue("full", capacity=1)
    with pytest.raises(QueueFullError):
        full.task(name="coroutine 2")(in_coroutine.task.function).using(
            when_full="refuse"
        ).enqueue()
    span = only(recorded.sent)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "QueueFullError"
    assert span.status.status_code is StatusCode.ERROR
    assert "full (1/1)" in str(span.status.description)


def test_a_job_that_enqueues_another_is_its_parent(place: Store, recorded: Recorded) -> None:
    chain.enqueue()
    work()
    outer = only(
        [each for each in recorded.processed if each.attributes["conveyor.task"] == "chain"]
    )  # type: ignore[index]
    inner = only([each for each in recorded.processed if each is not outer])
    second = only([each for each in recorded.sent if parent_of(each) is not None])
    assert parent_of(second) == span_id(outer)
    assert parent_of(inner) == span_id(second)
    assert len({trace_id(each) for each in recorded.all}) == 1


def test_the_span_of_one_job_is_not_current_in_the_next(
    memory: MemoryStore, recorded: Recorded
) -> None:
    jobs = [in_coroutine.enqueue() for _ in range(3)]
    threads = [KINDS["thread"].enqueue() for _ in range(3)]
    work()
    assert len({job.result(1) for job in [*jobs, *threads]}) == 6
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_trace_that_a_program_passes_on_by_hand_is_continued(
    place: Store, recorded: Recorded
) -> None:
    insert(place, TraceContext(PARENT, "vendor=x"))
    work()
    span = only(recorded.processed)
    assert trace_id(span) == PARENT[3:35]
    assert parent_of(span) == PARENT[36:52]
    assert context(span).trace_state.to_header() == "vendor=x"


@pytest.mark.parametrize(
    "wrong",
    [
        TraceContext("not a traceparent"),
        TraceContext(PARENT.upper()),
        TraceContext(PARENT, "x" * 513),
        TraceContext(PARENT, "no member"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_with_what_is_expected(
    place: Store, wrong: TraceContext
) -> None:
    with pytest.raises(UsageError, match=r"trace\.(parent|state) must be a W3C"):
        insert(place, wrong)


def test_without_an_sdk_jobs_carry_no_trace(memory: MemoryStore) -> None:
    job = in_coroutine.enqueue()
    work()
    record = memory.get(job.id).result()
    assert record.options.trace is None
    assert job.result(1) == f"{0:032x}-{0:016x}"


def test_a_span_that_is_not_sampled_is_passed_on_as_such(memory: MemoryStore) -> None:
    use_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    job = in_coroutine.enqueue()
    use_provider(None)
    trace_of_job = memory.get(job.id).result().options.trace
    assert trace_of_job is not None
    assert int(trace_of_job.parent[-2:], 16) & TraceFlags.SAMPLED == 0


class Raising(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("a bug of a processor")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("a bug of a processor")


def test_an_sdk_that_raises_harms_no_job_and_is_logged_once(
    memory: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    with recording() as recorded:
        recorded.provider.add_span_processor(Raising())
        jobs = [in_coroutine.enqueue(), KINDS["thread"].enqueue(), fails.enqueue()]
        work()
        assert jobs[0].wait(1).state is State.COMPLETED
        assert jobs[1].wait(1).state is State.COMPLETED
        assert jobs[2].wait(1).state is State.DISCARDED
    said = [each for each in caplog.messages if each.startswith("tracing.failed")]
    assert len(said) == 1
    assert "a bug of a processor" in said[0]


def test_an_async_enqueue_that_is_cancelled_ends_its_span(
    memory: MemoryStore, recorded: Recorded
) -> None:
    memory.insert([NewJob(id="a", task="t", queue="small")], capacity=1).result()
    small = belt.queue("small", capacity=1).task(name="waits")(in_coroutine.task.function)

    async def main() -> None:
        enqueueing = asyncio.create_task(small.aenqueue())
        await asyncio.sleep(0)
        enqueueing.cancel()
        await asyncio.gather(enqueueing, return_exceptions=True)

    asyncio.run(main())
    span = only(recorded.sent)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "CancelledError"


def test_a_unique_job_that_is_there_already_is_the_one_that_is_named(
    memory: MemoryStore, recorded: Recorded
) -> None:
    first = in_coroutine.using(key="one").enqueue()
    in_coroutine.using(key="one").enqueue()
    ids = [each.attributes["messaging.message.id"] for each in recorded.sent]  # type: ignore[index]
    assert ids == [first.id] * 2


def test_names_that_others_wrote_are_one_line_in_spans(
    memory: MemoryStore, recorded: Recorded
) -> None:
    belt.queue("a\nb").task(name="x\x1b[31m")(in_coroutine.task.function).enqueue()
    span = only(recorded.sent)
    assert span.name == "send a\\nb"
    assert span.attributes is not None
    assert span.attributes["conveyor.task"] == "x\\x1b[31m"


def test_a_call_of_the_executor_belongs_to_the_trace_of_who_submits_it(
    memory: MemoryStore, recorded: Recorded
) -> None:
    with recorded.tracer.start_as_current_span("request") as request:
        found = belt.submit(current).result(30)
    belt.shutdown()
    sent, processed = only(recorded.sent), only(recorded.processed)
    assert parent_of(sent) == f"{request.get_span_context().span_id:016x}"
    assert found == f"{trace_id(processed)}-{span_id(processed)}"
