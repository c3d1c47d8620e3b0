"""What of a trace reaches other programs: child processes, commands, and jobs without an SDK."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from traced_belt import PARENT, insert, only, traceparent, work
from traced_jobs import belt, current, in_coroutine, in_process

from conveyor.core.command_policy import CommandRules
from conveyor.core.job import JobRecord, NewJob, Options, State, TaskDefaults
from conveyor.core.lifecycle import Succeeded
from conveyor.core.trace_context import TraceContext
from conveyor.runners.capture import OutputBuffer
from conveyor.runners.job_control import JobControl
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Want
from conveyor.worker.attempt_spans import AttemptSpans
from spans import Recorded, span_id, trace_id


def test_a_job_in_a_process_has_the_span_of_its_attempt_there(
    memory: MemoryStore, recorded: Recorded
) -> None:
    job = in_process.enqueue()
    work()
    span = only(recorded.processed)
    found = job.result(1)
    assert found["span"] == f"{trace_id(span)}-{span_id(span)}"
    assert found["parent"] == traceparent(span)


SHOW = """
import json, os
print(json.dumps({name: os.environ[name] for name in os.environ if name.startswith("TRACE")}))
"""


def shown(**options: Any) -> Any:
    """Run a command that prints the trace in its environment."""
    options = {"env": {}, **options}
    job = q_command(SHOW, **options).enqueue()
    work(**({"commands": CommandRules(clean_env=True)} if options.get("clean") else {}))
    return json.loads(job.logs())


def q_command(code: str, **options: Any) -> Any:
    options.pop("clean", None)
    return belt.command(sys.executable, "-c", code, queue="q", **options)


@pytest.mark.parametrize("clean", [False, True])
def test_a_command_finds_the_span_of_its_attempt_in_its_environment(
    memory: MemoryStore, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)  # the worker's own
    monkeypatch.setenv("TRACESTATE", "a=1")
    found = shown(clean=clean)
    span = only(recorded.processed)
    assert found == {"TRACEPARENT": traceparent(span)}


def test_a_trace_that_a_command_is_given_stays(memory: MemoryStore, recorded: Recorded) -> None:
    assert shown(env={"TRACEPARENT": PARENT}) == {"TRACEPARENT": PARENT}


def test_without_an_sdk_a_trace_is_passed_on_to_what_jobs_enqueue_and_to_commands(
    memory: MemoryStore,
) -> None:
    insert(memory, TraceContext(PARENT, "vendor=x"), task="chain")
    work()
    inner = memory.get(memory.get("foreign").result().result.decode().strip('"')).result()  # type: ignore[union-attr]
    assert inner.options.trace == TraceContext(PARENT, "vendor=x")
    trace_of_command = TraceContext(PARENT, "vendor=x")
    command = q_command(SHOW)
    options = command.enqueue_options.options
    new = NewJob(
        id="command",
        task=command.task.name,
        queue="q",
        args=command._encode((), {}),
        options=Options(requires=("commands",), trace=trace_of_command, grace=options.grace),
    )
    memory.insert([new]).result()
    work()
    text = b"".join(each.data for each in memory.output("command", limit=99).result())
    assert json.loads(text) == {"TRACEPARENT": PARENT, "TRACESTATE": "vendor=x"}


def test_a_trace_stays_when_a_job_gets_the_options_that_its_task_declares(
    memory: MemoryStore,
) -> None:
    given = TraceContext(PARENT, linked=True)
    memory.insert([NewJob(id="j", task="later", options=Options(given=(), trace=given))]).result()
    memory.put_tasks([TaskDefaults(name="later", options=Options(retries=3))]).result()
    claimant = Claimant("w")
    [job] = memory.claim([Want("default", 1)], claimant, limit=1).result().jobs
    assert job.options.retries == 3
    assert job.options.trace == given


def test_nothing_of_a_job_s_trace_is_mixed_with_one_that_its_command_is_given(
    memory: MemoryStore,
) -> None:
    command = q_command(SHOW, env={"TRACEPARENT": PARENT})
    options = Options(requires=("commands",), trace=TraceContext(f"{PARENT[:-2]}00", "vendor=x"))
    new = NewJob(
        id="command",
        task=command.task.name,
        queue="q",
        args=command._encode((), {}),
        options=options,
    )
    memory.insert([new]).result()
    work()
    text = b"".join(each.data for each in memory.output("command", limit=99).result())
    assert json.loads(text) == {"TRACEPARENT": PARENT}


def test_the_span_of_an_attempt_is_current_until_it_ends(recorded: Recorded) -> None:
    job = JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
        run_at=0.0, enqueued_at=0.0,
    )  # fmt: skip
    control = JobControl(job, in_coroutine.task, OutputBuffer())
    observer = AttemptSpans()
    before = current()
    begun = observer.begin(control)
    during = current()
    observer.end(control, begun, Succeeded())
    span = only(recorded.processed)
    assert during == f"{trace_id(span)}-{span_id(span)}"
    assert current() == before != during
