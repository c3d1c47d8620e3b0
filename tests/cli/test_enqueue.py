"""`conveyor enqueue`."""

from __future__ import annotations

import json

import pytest
from shell import Command, Start, Until, read_line

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


def test_a_server_of_the_application_declares_its_tasks_and_refuses_others(
    start: Start, conveyor: Command, belt: Conveyor, until: Until
) -> None:
    server = start("server", "app:belt", "--port", "0")
    url = read_line(server, "server: ").split()[1].rstrip(",")
    unknown = conveyor("enqueue", "--url", url, "sned", "to=ann")
    assert unknown.code == 2
    assert "there is no task 'sned'; known tasks: send" in unknown.err
    until(lambda: belt.store.task_defaults("shop.pack").result())
    job_id = conveyor("enqueue", "--url", url, "shop.pack").out.strip()
    job = belt.job(job_id).record
    assert (job.queue, job.options.requires) == ("mail", ("gpu",))


def test_enqueue_warns_of_a_task_that_nobody_has_declared(
    conveyor: Command, belt: Conveyor
) -> None:
    assert "no worker has declared a task 'send'" in conveyor("enqueue", "send", "to=ann").err
    belt.store.put_tasks([belt.functions["send"].task.defaults]).result()
    assert conveyor("enqueue", "send", "to=ann").err == ""
    assert conveyor("enqueue", "conveyor.command", '--args={"argv": ["true"]}').err == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["to"], "NAME=VALUE"),
        (["--args", "{"], "not valid JSON"),
        (["--args", "[1]"], "must be a JSON object"),
        (["--args", "[" * 20_000 + "]" * 20_000], "--args is nested too deeply"),
        (["to=" + "[" * 20_000 + "]" * 20_000], "the argument 'to' is nested too deeply"),
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
    assert again == {"id": first["id"], "existing": True, "replaced": False}


def test_a_key_can_name_arguments_and_the_holder_be_replaced(
    conveyor: Command, belt: Conveyor
) -> None:
    replace = "--key", "mail:{to}", "--on-conflict", "replace", "--json"
    first = conveyor("enqueue", "send", "to=ann", "times=1", *replace).data
    again = conveyor("enqueue", "send", "to=ann", "times=2", *replace).data
    assert again == {"id": first["id"], "existing": True, "replaced": True}
    job = belt.job(first["id"]).record
    assert (job.options.key, json.loads(job.args)["times"]) == ("mail:ann", 2)
    wrong = conveyor("enqueue", "send", "to=ann", "--key", "{who}", "--on-conflict", "join")
    assert (wrong.code, "needs 'who', which the call does not have" in wrong.err) == (2, True)


def test_a_full_queue_ends_with_1_after_waiting(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["tiny"].enqueue()
    ran = conveyor("enqueue", "tiny", "--queue", "small", "--wait", "0.05")
    assert ran.code == 1
    assert "is full (1/1), cannot add 1" in ran.err


def test_a_producer_that_waits_for_room_is_counted(
    start: Start, conveyor: Command, belt: Conveyor, until: Until
) -> None:
    belt.functions["tiny"].enqueue()
    waiting = start("enqueue", "tiny", "--app", "app:belt")
    until(lambda: conveyor("queues", "--json").data[-1]["offers"] == 1)
    assert waiting.poll() is None
    belt.work(queues=["small"], timeout=30, keep=False)
    assert waiting.wait(30) == 0


def test_an_argument_that_is_given_twice_is_refused(conveyor: Command) -> None:
    ran = conveyor("enqueue", "--app", "app:belt", "send", "to=ann", "to=bob")
    assert ran.code == 2
    assert "the argument 'to' is given twice" in ran.err
