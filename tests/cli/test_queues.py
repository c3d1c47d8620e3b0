"""`conveyor queues`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor


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
