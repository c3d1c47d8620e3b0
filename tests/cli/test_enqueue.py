"""`conveyor enqueue`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from shell import Command

from conveyor import Conveyor


def test_enqueue_prints_the_id_of_the_new_job(conveyor: Command, belt: Conveyor) -> None:
    ran = conveyor("enqueue", "send", "to=ann", "times=2", "--queue", "mail", "--priority", 5)
    assert ran.code == 0
    record = belt.job(ran.out.strip()).refresh().record
    assert json.loads(record.args) == {"to": "ann", "times": 2}
    assert (record.queue, record.priority) == ("mail", 5)


def test_enqueue_through_the_application_checks_the_call(conveyor: Command) -> None:
    ran = conveyor("enqueue", "pack", "--app", "app:belt", "--json")
    assert ran.code == 0
    assert conveyor("show", ran.data["id"], "--json").data["task"] == "shop.pack"
    wrong = conveyor("enqueue", "send", "two=bob", "--app", "app:belt")
    assert wrong.code == 2
    assert "a required argument: 'to'" in wrong.err
    unknown = conveyor("enqueue", "sned", "--app", "app:belt")
    assert unknown.code == 2
    assert "has no task 'sned'" in unknown.err
    assert "send" in unknown.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["to"], "NAME=VALUE"),
        (["--args", "{"], "not valid JSON"),
        (["--args", "[1]"], "must be a JSON object"),
        (["to=ann", "--args", "{}"], "not both"),
        (["--delay", "soon"], "soon"),
        (["--retries", "-1"], "retries"),
    ],
)
def test_a_wrong_enqueue_ends_with_2_and_leaves_no_job(
    conveyor: Command, belt: Conveyor, args: list[str], said: str
) -> None:
    assert belt.jobs() == []
    ran = conveyor("enqueue", "send", *args)
    assert ran.code == 2
    assert said in ran.err
    assert conveyor("ps", "--json").data == []


def test_a_key_gives_the_job_that_has_it(conveyor: Command) -> None:
    first = conveyor("enqueue", "send", "to=ann", "--key", "k", "--json").data
    again = conveyor("enqueue", "send", "to=ann", "--key", "k", "--json").data
    assert again == {"id": first["id"], "existing": True}


def test_a_full_queue_ends_with_1_after_waiting(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["tiny"].enqueue()
    ran = conveyor("enqueue", "tiny", "--queue", "small", "--wait", "0.05")
    assert ran.code == 1
    assert "is full (1/1), cannot add 1" in ran.err


def test_a_producer_that_waits_for_room_is_counted(
    start: Callable[..., subprocess.Popen[str]],
    conveyor: Command,
    belt: Conveyor,
    until: Callable[..., None],
) -> None:
    belt.functions["tiny"].enqueue()
    waiting = start("enqueue", "tiny", "--app", "app:belt")
    until(lambda: conveyor("queues", "--json").data[-1]["offers"] == 1)
    assert waiting.poll() is None
    belt.work(queues=["small"], timeout=30, keep=False)
    assert waiting.wait(30) == 0
