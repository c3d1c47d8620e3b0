"""Each state of a job is explained in a sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from records import job

from conveyor.core.explain import describe_unsupported, explain, explain_offer
from conveyor.core.job import QueueInfo, State, StopNote, WorkerInfo


@pytest.mark.parametrize("state", State)
def test_there_is_a_sentence_for_every_state(state: State) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    said = explain(
        job(state=state, error="why", worker="w-1"), queue=queue, ahead=0, workers=[], now=200.0
    )
    assert said.endswith(".")
    assert "None" not in said


def test_why_names_the_version_problem_and_the_workers_that_have_it() -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    old = WorkerInfo(
        id="old", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1,
        queues=("q",), unsupported={"t": 2},
    )  # fmt: skip
    waiting = job(
        state=State.RETRYABLE, error="UnknownTask: no task 't'", unsupported_since=100.0,
        run_at=210.0,
    )  # fmt: skip
    said = explain(waiting, queue=queue, ahead=0, workers=[old], now=200.0)
    assert "no worker that claimed it had the code to run it (UnknownTask: no task 't')" in said
    assert "in 10.0 s" in said
    assert "deploy workers of queue 'q' with this version of task 't'. Without it: old." in said
    assert describe_unsupported({"t": 1, "u": 2}) == "t (1 job), u (2 jobs)"


def test_why_names_the_room_that_is_waited_for() -> None:
    full = QueueInfo(name="q", capacity=2, paused=False, counts={State.AVAILABLE: 2}, offers=3)
    assert "has 2 of 2 waiting jobs; producers waiting to add more: 3." in explain_offer(full)
    meeting = QueueInfo(name="q", capacity=0, paused=False, counts={}, offers=1)
    assert "capacity 0" in explain_offer(meeting)


def test_a_silent_or_draining_worker_does_not_count() -> None:
    def worker(**given: Any) -> WorkerInfo:
        return WorkerInfo(
            id="w", host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1,
            queues=("q",), **given,
        )  # fmt: skip

    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    waiting = job(state=State.AVAILABLE)
    for useless in (worker(beat_at=100.0), worker(beat_at=199.0, draining=True)):
        said = explain(waiting, queue=queue, ahead=0, workers=[useless], now=200.0)
        assert "No worker serves queue 'q'" in said


def server(name: str = "w", **given: Any) -> WorkerInfo:
    fields: dict[str, Any] = {"slots": 2, "queues": ("q",), "beat_at": 199.0}
    return WorkerInfo(
        id=name, host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, **(fields | given)
    )


@pytest.mark.parametrize(
    ("given", "workers", "ahead", "said"),
    [
        ({}, [server()], 0, "It is next: a worker should claim it within seconds."),
        ({}, [server(running=1)], 1, "It waits behind 1 job in queue 'q' (1 of 2 slots busy)."),
        ({}, [server(), server("v", running=2)], 3, "behind 3 jobs in queue 'q' (2 of 4 slots bus"),
        ({}, [server(running=2)], 0, "All slots are busy: 2 of 2, in 1 worker."),
        ({}, [server(running=2), server("v", running=2)], 0, "busy: 4 of 4, in 2 workers."),
        ({}, [server(beat_at=180.0)], 0, "No worker serves queue 'q'"),
        ({}, [server(queues=("other",))], 0, "No worker serves queue 'q'"),
        ({}, [server(quiet=True)], 0, "is quiet: `conveyor workers resume w`"),
        ({}, [server(quiet=True), server("v", quiet=True)], 0, "workers resume w v`"),
        ({}, [server(quiet=True), server("v")], 0, "It is next"),
        ({}, [server(labels=("gpu!only",))], 0, "runs only jobs that require its !only labels"),
        (
            {"requires": ("gpu", "tpu")},
            [server(labels=("gpu",))],
            0,
            "labels it requires: gpu, tpu.",
        ),
        ({"requires": ("gpu",)}, [server(labels=("gpu",)), server("v")], 0, "It is next"),
        ({}, [server(sick={"command": "no fork"})], 0, "It is next"),
        ({}, [server(sick={"process": "no fork"})], 0, "machine now: w: process jobs: no fork."),
        (
            {"requires": ("commands",)},
            [server(labels=("commands",), sick={"command": "no fork"})],
            0,
            "machine now: w: command jobs: no fork.",
        ),
        ({"requires": ("commands",)}, [server()], 0, "is allowed to run commands"),
        ({"requires": ("commands", "gpu")}, [server(labels=("commands",))], 0, "all labels it req"),
    ],
)
def test_why_names_what_an_available_job_waits_for(
    given: dict[str, Any], workers: list[WorkerInfo], ahead: int, said: str
) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    waiting = job(state=State.AVAILABLE, **given)
    assert said in explain(waiting, queue=queue, ahead=ahead, workers=workers, now=200.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "It was claimed by w, which has not confirmed the claim yet."),
        ({"started_at": 195.0}, "It has been running in w for 5.0 s."),
        (
            {"started_at": 100.0, "cancel_requested_at": 190.0},
            "A stop was requested 10.0 s ago, but its code still runs in w.",
        ),
        (
            {
                "started_at": 100.0,
                "cancel_requested_at": 190.0,
                "stopping": (StopNote(191.0, "asked it"), StopNote(192.0, "sent SIGTERM")),
            },
            "A stop was requested 10.0 s ago, but its code still runs in w: sent SIGTERM.",
        ),
    ],
)
def test_why_says_how_far_a_running_job_is(given: dict[str, Any], said: str) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    running = job(worker="w", **given)
    assert explain(running, queue=queue, ahead=0, workers=[], now=200.0) == said


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([server(running=1)], "."),
        ([server(running=1, waits={"other": "job 7"})], "."),
        ([server(running=1, waits={"j": "job 7"})], "; it waits for job 7."),
        (
            [server(running=2, waits={"j": "job 7"})],
            "; it waits for job 7, and no slot is free: 2 of 2 are busy.",
        ),
        ([server(running=2, waits={"j": "job 7"}), server("v")], "; it waits for job 7."),
    ],
)
def test_why_says_what_a_running_job_waits_for(workers: list[WorkerInfo], said: str) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    running = job(worker="w", id="j", started_at=195.0)
    told = explain(running, queue=queue, ahead=0, workers=workers, now=200.0)
    assert told == f"It has been running in w for 5.0 s{said}"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("job j", " Job 7, which has one of these slots, waits for its result."),
        (
            "room in queue 'q' (9/9)",
            " Job 7, which has one of these slots, waits for room in queue 'q' (9/9).",
        ),
        ("job other", ""),
        ("room in queue 'other' (9/9)", ""),
    ],
)
def test_why_names_the_job_that_waits_for_this_one_and_has_the_slot(what: str, said: str) -> None:
    queue = QueueInfo(name="q", capacity=9, paused=False, counts={})
    waiting = job(state=State.AVAILABLE, id="j")
    for ahead, start in (
        (0, "All slots are busy: 2 of 2, in 1 worker."),
        (2, "It waits behind 2 jobs in queue 'q' (2 of 2 slots busy)."),
    ):
        workers = [server(running=2, waits={"7": what})]
        told = explain(waiting, queue=queue, ahead=ahead, workers=workers, now=200.0)
        assert told == start + said


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("q", "q"),
        ("eu:1", "eu:1:1"),
        ("eu:west", "eu:west:1"),
        ("two words; rm", "'two words; rm'"),
    ],
)
def test_the_option_that_it_recommends_serves_the_queue(name: str, option: str) -> None:
    waiting = msgspec.structs.replace(job(state=State.AVAILABLE), queue=name)
    queue = QueueInfo(name=name, capacity=None, paused=False, counts={})
    said = explain(waiting, queue=queue, ahead=0, workers=[], now=0.0)
    assert f"`conveyor worker app:belt --queue {option}`" in said
