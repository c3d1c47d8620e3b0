"""`conveyor delete`: final jobs, by id, and by filter after a confirmation."""

from __future__ import annotations

import pytest
from shell import Command

from conveyor import Conveyor, NotFoundError
from conveyor.client.job_handle import Job


@pytest.fixture
def jobs(belt: Conveyor) -> list[Job[str]]:
    """A completed, a discarded and a waiting job."""
    ended = belt.functions["send"].enqueue_many([("ann",), ("nobody",)])
    belt.work(queues=["mail"], timeout=30, keep=False)
    return [*ended, belt.functions["send"].enqueue("bob")]


def kept(belt: Conveyor) -> list[str]:
    return [job.id for job in reversed(belt.jobs())]


def test_delete_removes_final_jobs_and_refuses_others(
    conveyor: Command, belt: Conveyor, jobs: list[Job[str]]
) -> None:
    done, _, waiting = jobs
    ran = conveyor("delete", done.id, waiting.id)
    assert (ran.code, ran.out) == (1, f"{done.id} deleted\n")
    assert "only a final job can be deleted; cancel it first" in ran.err
    assert kept(belt) == [job.id for job in jobs[1:]]
    with pytest.raises(NotFoundError):
        done.refresh()
    assert conveyor("delete", done.id).code == 3
    [line] = conveyor("audit", "--json").data
    assert (line["what"], line["subject"]) == ("delete", done.id)


def test_a_filter_deletes_the_final_jobs_that_match(
    conveyor: Command, belt: Conveyor, jobs: list[Job[str]]
) -> None:
    refused = conveyor("delete", "-q", "mail")
    assert refused.code == 2
    assert "cannot ask whether to delete 2 jobs" in refused.err
    ran = conveyor("delete", "--state", "discarded", "--yes", "--json")
    assert (ran.code, ran.data) == (0, {"deleted": 1})
    assert kept(belt) == [jobs[0].id, jobs[2].id]
    assert conveyor("delete", "--task", "send", "--yes").out == "1 deleted\n"
    assert kept(belt) == [jobs[2].id]
    assert conveyor("delete", "--task", "send", "--yes").out == "no jobs\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "specify either job ids or a filter"),
        (["--state", "available", "--yes"], "such jobs cannot be deleted; choose from: cancelled"),
    ],
)
def test_a_delete_of_what_is_not_final_is_wrong_use(
    conveyor: Command, belt: Conveyor, jobs: list[Job[str]], args: list[str], message: str
) -> None:
    ran = conveyor("delete", *args)
    assert ran.code == 2
    assert message in ran.err
    assert len(kept(belt)) == 3
