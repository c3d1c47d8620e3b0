"""`conveyor schedules`."""

from __future__ import annotations

from typing import Any

from shell import Command, Start, Until, serve


def test_schedules_are_listed_paused_and_resumed(
    start: Start, conveyor: Command, until: Until
) -> None:
    worker = serve(start)
    until(lambda: conveyor("schedules", "--json").data)
    worker.terminate()
    assert worker.wait(30) == 0
    listed: dict[str, Any] = conveyor("schedules", "--json").data[0]
    assert (listed["name"], listed["timezone"]) == ("nightly", "Europe/Berlin")
    assert conveyor("schedules", "pause", "nightly").code == 0
    assert "nightly\tpaused\t" in conveyor("schedules").out
    assert conveyor("schedules", "resume", "nightly").code == 0
    ran = conveyor("schedules", "pause", "hourly")
    assert ran.code == 3
    assert "schedule 'hourly' not found" in ran.err
