"""`conveyor queues`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor


def test_a_misspelled_queue_is_not_paused_into_being(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    ran = conveyor("queues", "pause", "mial")
    assert ran.code == 3
    assert "there is no queue 'mial'" in ran.err
    assert "known queues: mail" in ran.err
    assert [queue["name"] for queue in conveyor("queues", "--json").data] == ["mail"]


def test_a_queue_that_only_a_worker_knows_can_be_paused(conveyor: Command, belt: Conveyor) -> None:
    belt.store.beat(belt.worker(queues=["images"]).parts.info).result()
    assert conveyor("queues", "pause", "images").code == 0
    assert "images\tpaused" in conveyor("queues").out


def test_queues_are_listed_paused_and_resumed(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    assert "mail\topen\t1" in conveyor("queues").out
    assert conveyor("queues", "pause", "mail").code == 0
    assert "mail\tpaused\t1" in conveyor("queues").out
    assert conveyor("queues", "resume", "mail").code == 0
    assert not conveyor("queues", "--json").data[0]["paused"]
    ran = conveyor("queues", "pause")
    assert ran.code == 2
    assert "specify the queues" in ran.err


def test_a_pause_says_by_whom_and_why(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    assert conveyor("queues", "pause", "mail", "--reason", "provider is down").code == 0
    assert "mail\tpaused: provider is down\t1" in conveyor("queues").out
    [queue] = conveyor("queues", "--json").data
    assert " on " in queue["paused_by"]
    assert queue["paused_at"] > 0
    assert conveyor("audit", "--json").data[0]["reason"] == "provider is down"


def test_the_capacity_of_a_queue_is_changed_by_hand(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    assert conveyor("queues", "capacity", "mail", "--to", "5", "--reason", "r").code == 0
    assert "mail\topen\t1/5" in conveyor("queues").out
    assert conveyor("queues", "capacity", "mail", "--to", "none").code == 0
    assert "mail\topen\t1\t" in conveyor("queues").out
    for wrong in (["--to", "-1"], ["--to", "many"], []):
        ran = conveyor("queues", "capacity", "mail", *wrong)
        assert ran.code == 2
        assert "--to must be a number of jobs, or none for no limit" in ran.err
    assert conveyor("queues", "capacity", "nowhere", "--to", "1").code == 3
    newest, oldest = conveyor("audit", "--json").data
    assert (oldest["what"], oldest["detail"], oldest["reason"]) == ("set capacity", "5", "r")
    assert newest["detail"] == "unbounded"
