"""`conveyor ps`."""

from __future__ import annotations

from shell import Command

from conveyor import Conveyor


def test_ps_lists_the_newest_job_first(conveyor: Command, belt: Conveyor) -> None:
    first = belt.functions["send"].enqueue("ann")
    second = belt.functions["send"].enqueue("bob")
    ran = conveyor("ps")
    assert ran.code == 0
    heading, *lines = ran.out.splitlines()
    assert heading.startswith("ID\tSTATE\tTASK\tQUEUE")
    assert [line.split("\t")[:4] for line in lines] == [
        [second.id, "available", "send", "mail"],
        [first.id, "available", "send", "mail"],
    ]


def test_ps_filters_and_pages(conveyor: Command, belt: Conveyor) -> None:
    jobs = [belt.functions["send"].enqueue(str(number)) for number in range(3)]
    belt.functions["tiny"].enqueue()
    page = conveyor("ps", "--queue", "mail", "--state", "available", "--limit", 2)
    assert [line.split("\t")[0] for line in page.out.splitlines()[1:]] == [
        jobs[2].id,
        jobs[1].id,
    ]
    before = page.err.split()[-1]
    rest = conveyor("ps", "--queue", "mail", "--before", before, "--json")
    assert [job["id"] for job in rest.data] == [jobs[0].id]


def test_a_state_that_does_not_exist_is_answered_with_those_that_do(conveyor: Command) -> None:
    ran = conveyor("ps", "--state", "failed")
    assert ran.code == 2
    assert "discarded" in ran.err
    assert not ran.out
