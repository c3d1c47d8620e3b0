"""Each state of a job is explained in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from records import job

from conveyor.core.explain import explain, explain_offer
from conveyor.core.job import QueueInfo, State, WorkerInfo


@pytest.mark.parametrize("state", State)
def test_there_is_a_sentence_for_every_state(state: State) -> None:
    queue = QueueInfo(name="q", capacity=None, paused=False, counts={})
    said = explain(
        job(state=state, error="why", worker="w-1"), queue=queue, ahead=0, workers=[], now=200.0
    )
    assert said.endswith(".")
    assert "None" not in said


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
