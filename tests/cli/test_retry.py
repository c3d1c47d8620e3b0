"""`conveyor retry`: by id, and by filter after a confirmation."""

from __future__ import annotations

import pytest
from shell import Command

from conveyor import Conveyor, State
from conveyor.cli.shared.audit_trail import audited
from conveyor.cli.shared.bulk_change import act_on_matching, confirmed_count, without_later_jobs
from conveyor.cli.shared.job_selection import select_pages
from conveyor.client.job_handle import Job
from conveyor.store.messages import Filter


def test_retry_runs_an_ended_job_again(conveyor: Command, belt: Conveyor) -> None:
    job = belt.functions["send"].enqueue("nobody")
    belt.work(queues=["mail"], timeout=30, keep=False)
    assert conveyor("retry", job.id).out == f"{job.id} available\n"
    ran = conveyor("retry", job.id)
    assert ran.code == 1
    assert "only a job that ended" in ran.err


@pytest.fixture
def jobs(belt: Conveyor) -> list[Job[str]]:
    """Three discarded jobs of "send" and a completed one, and a discarded one of "tiny"."""
    sent = belt.functions["send"].enqueue_many([("nobody",), ("ann",), ("nobody",), ("nobody",)])
    belt.work(queues=["mail"], timeout=30, keep=False)
    other = belt.functions["tiny"].using(expires_at=1.0).enqueue()
    belt.store.stage(limit=10).result()
    return [*sent, other]


def states(jobs: list[Job[str]]) -> list[str]:
    return [job.refresh().state.value for job in jobs]


DONE = ["discarded", "completed", "discarded", "discarded", "discarded"]


def test_a_filter_retries_the_discarded_jobs_that_match(
    conveyor: Command, jobs: list[Job[str]]
) -> None:
    assert states(jobs) == DONE
    refused = conveyor("retry", "-q", "mail")
    assert refused.code == 2
    assert "cannot ask whether to retry 3 jobs" in refused.err
    assert states(jobs) == DONE
    ran = conveyor("retry", "-q", "mail", "--task", "send", "--yes")
    assert (ran.code, ran.out) == (0, "3 available\n")
    assert states(jobs) == ["available", "completed", "available", "available", "discarded"]
    again = conveyor("retry", "--state", "discarded", "--yes", "--json")
    assert again.data == {"available": 1}
    assert conveyor("retry", "--task", "send", "--yes").out == "no jobs\n"


def test_a_retry_by_filter_is_in_the_audit_log_with_its_reason_and_its_count(
    conveyor: Command, jobs: list[Job[str]]
) -> None:
    conveyor("retry", "--task", "send", "--yes", "--reason", "mail is back")
    [line] = conveyor("audit", "--json").data
    assert (line["what"], line["subject"]) == ("retry", "task=send states=discarded")
    assert (line["count"], line["reason"]) == (3, "mail is back")
    conveyor("retry", jobs[4].id, "--reason", "and this")
    table = conveyor("audit", "--what", "retry", "--subject", jobs[4].id).out
    assert "and this" in table
    assert "mail is back" not in table
    assert conveyor("audit", "--who", "nobody", "--json").data == []


def test_the_failures_of_one_kind_are_listed_and_retried_together(
    conveyor: Command, jobs: list[Job[str]]
) -> None:
    groups = conveyor("failures", "--json").data["groups"]
    assert [(group["type"], group["count"]) for group in groups] == [
        ("LookupError", 3),
        ("Expired", 1),
    ]
    table = conveyor("failures").out
    assert "LookupError: no such person" in table
    chosen = groups[0]["fingerprint"]
    shown = conveyor("failures", chosen).out
    assert "3 attempts of 3 jobs" in shown
    assert jobs[0].id in shown
    assert "no such person" in shown
    assert conveyor("failures", "000000000000").code == 3
    listed = conveyor("ps", "--error", chosen, "--json").data
    assert [job["id"] for job in listed] == [jobs[3].id, jobs[2].id, jobs[0].id]
    assert conveyor("retry", "--error", chosen, "--yes").out == "3 available\n"
    assert states(jobs)[4] == "discarded"


def test_jobs_are_listed_and_cancelled_by_what_is_in_their_arguments(
    conveyor: Command, jobs: list[Job[str]]
) -> None:
    conveyor("retry", "--text", '"nobody"', "--yes")
    assert len(conveyor("ps", "--text", "ann", "--json").data) == 1
    ran = conveyor("cancel", "--text", "nobody", "--yes")
    assert ran.out == "3 cancelled\n"


def test_a_filter_has_a_limit_and_takes_the_newest_first(
    conveyor: Command, jobs: list[Job[str]]
) -> None:
    ran = conveyor("retry", "-q", "mail", "--limit", 2, "--yes")
    assert ran.out == "2 available\n"
    assert "There may be more than 2 jobs: repeat the command" in ran.err
    assert states(jobs)[:4] == ["discarded", "completed", "available", "available"]


def test_older_and_state_narrow_the_filter(conveyor: Command, jobs: list[Job[str]]) -> None:
    assert conveyor("retry", "-q", "mail", "--older", "1h", "--yes").out == "no jobs\n"
    ran = conveyor("retry", "--state", "completed", "--older", "0.000001", "--yes")
    assert ran.out == "1 available\n"
    assert states(jobs)[1] == "available"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "specify either job ids or a filter"),
        (["--yes"], "specify either job ids or a filter"),
        (["an-id", "-q", "mail"], "specify either job ids or a filter"),
        (["--state", "running", "--yes"], "--state running: such jobs cannot be retried; choose"),
        (["--state", "failed", "--yes"], "unknown state 'failed'"),
        (["-q", "mail", "--older", "soon", "--yes"], "--older"),
        (["-q", "mail", "--limit", "0", "--yes"], "--limit"),
    ],
)
def test_a_retry_of_nothing_in_particular_is_wrong_use(
    conveyor: Command, jobs: list[Job[str]], args: list[str], message: str
) -> None:
    ran = conveyor("retry", *args)
    assert ran.code == 2
    assert message in ran.err
    assert states(jobs) == DONE


def test_every_page_of_a_filter_is_read_once(belt: Conveyor) -> None:
    made = belt.functions["send"].enqueue_many([("ann",)] * 7)
    newest_first = [job.id for job in reversed(made)]
    pages = list(select_pages(belt.store, Filter(queue="mail"), page_size=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job_id for page in pages for job_id in page] == newest_first
    bounded = select_pages(belt.store, Filter(queue="mail"), limit=5, page_size=3)
    assert [job_id for page in bounded for job_id in page] == newest_first[:5]


def test_a_job_that_matches_no_more_when_its_page_is_read_is_left_alone(
    belt: Conveyor, jobs: list[Job[str]]
) -> None:
    discarded = Filter(queue="mail", states=frozenset({State.DISCARDED}))
    pages = select_pages(belt.store, discarded, page_size=1)
    assert next(pages) == [jobs[3].id]
    belt.store.retry(jobs[2].id).result()
    assert list(pages) == [[jobs[0].id]]


def test_a_job_that_cannot_be_retried_is_refused_and_the_others_are_not(
    conveyor: Command, belt: Conveyor, jobs: list[Job[str]]
) -> None:
    [gone] = belt.functions["send"].using(key="k").enqueue_many([("nobody",)])
    belt.work(queues=["mail"], timeout=30, keep=False)
    belt.functions["send"].using(key="k", delay="1h").enqueue("ann")
    ran = conveyor("retry", "-q", "mail", "--yes", "--json")
    assert (ran.code, ran.data) == (1, {"refused": 1, "available": 3})
    assert f"job {gone.id} cannot be retried: its key 'k' now belongs to job" in ran.err


def test_no_more_jobs_are_changed_than_were_counted_for_the_question(belt: Conveyor) -> None:
    older, newer = belt.functions["tiny"].enqueue(), belt.functions["send"].enqueue("ann")
    newer.cancel()
    cancelled = Filter(states=frozenset({State.CANCELLED}))
    counted = without_later_jobs(belt.store, cancelled, "retry")
    count = confirmed_count(belt.store, counted, "retry", limit=9, yes=True)
    older.cancel()  # matches now, too
    later = belt.functions["tiny"].enqueue()
    later.cancel()
    with audited(belt.store) as record:
        steps = list(
            act_on_matching(belt.store, counted, "retry", count=count, reason="", record=record)
        )
    assert [step.changed for step in steps] == [1]
    found = [each.refresh().state for each in (newer, older, later)]
    assert found == ["available", "cancelled", "cancelled"]
