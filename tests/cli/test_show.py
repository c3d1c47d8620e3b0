"""`conveyor show`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor


def test_show_tells_everything_of_a_job_and_of_its_attempts(
    conveyor: Command, belt: Conveyor
) -> None:
    job = belt.functions["send"].enqueue("nobody")
    belt.work(queues=["mail"], timeout=30, keep=False)
    ran = conveyor("show", job.id)
    assert ran.code == 0
    for expected in ("discarded", '{"to":"nobody"}', "LookupError: no such person", "Traceback"):
        assert expected in ran.out
    data = conveyor("show", job.id, "--json").data
    assert data["state"] == "discarded"
    assert data["args"] == {"to": "nobody"}
    assert data["history"][0]["error"]["type"].endswith("LookupError")


def test_a_result_is_shown_as_json(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann", 2)
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("show", job.id, "--json").data["result"] == "ann x2"
    assert conveyor("ps", "--json").data[0]["result"] == "ann x2"


def test_the_end_of_an_id_is_enough(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("ann")
    assert conveyor("show", job.id[-8:], "--json").data["id"] == job.id
