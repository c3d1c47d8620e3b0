"""`conveyor schedules`."""

from __future__ import annotations

from typing import Any

from shell import Command, Start, Until, serve

from conveyor import Conveyor
from conveyor.core.job import ScheduleInfo


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


def test_a_schedule_is_run_now_and_paused_with_a_reason(conveyor: Command, belt: Conveyor) -> None:
    store = belt.store
    info = ScheduleInfo(
        name="s", cron="@daily", timezone="UTC", missed="once", next_at=store.now() + 1000.0
    )
    store.put_schedule(info).result()
    ran = conveyor("schedules", "run", "s", "--reason", "now")
    assert ran.code == 0
    assert "is due now; an application that declares it enqueues it" in ran.err
    assert store.schedules().result()[0].next_at <= store.now()
    assert conveyor("schedules", "pause", "s", "--reason", "later").code == 0
    assert conveyor("schedules", "--json").data[0]["pause_reason"] == "later"
    refused = conveyor("schedules", "run", "s")
    assert refused.code == 2
    assert "is paused, so it cannot run now: resume it first" in refused.err
    reasons = [line["reason"] for line in conveyor("audit", "--json").data]
    assert reasons == ["later", "now"]


def test_a_schedule_that_nobody_declares_any_more_is_overdue_and_can_be_removed(
    conveyor: Command, belt: Conveyor
) -> None:
    store = belt.store
    for name, next_at in (("gone", 1000.0), ("kept", store.now() + 1000.0)):
        info = ScheduleInfo(
            name=name, cron="@daily", timezone="UTC", missed="once", next_at=next_at
        )
        store.put_schedule(info).result()
    listed = conveyor("schedules").out
    assert "gone\toverdue\t" in listed
    assert "kept\topen\t" in listed
    ran = conveyor("schedules", "remove", "gone")
    assert ran.code == 0
    assert "an application that still declares it adds it again" in ran.err
    assert [each["name"] for each in conveyor("schedules", "--json").data] == ["kept"]
    assert conveyor("schedules", "remove", "gone").code == 3
    assert "remove schedule\tgone" in conveyor("audit").out
