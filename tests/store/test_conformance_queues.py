"""What every store promises to a worker of many queues."""

from __future__ import annotations

from calls import claim, new, offer, put

from conveyor.core.lifecycle import Interrupted
from conveyor.store.messages import Claimant, Offered, Report, Want
from conveyor.store.protocol import Store


def test_of_many_wanted_queues_those_with_jobs_or_offers_are_served(store: Store) -> None:
    put(store, new(id="first", queue="q-700"))
    put(store, new(id="stopped", queue="q-30"))
    store.set_paused("q-30", paused=True).result(10)
    put(store, new(id="later", queue="q-40", delay=60))
    assert isinstance(offer(store, new(id="met", queue="q-5"), capacity=0), Offered)
    wants = [Want(f"q-{number}", 10) for number in range(1000)]
    jobs = store.claim(wants, Claimant("w"), limit=10).result(10).jobs
    assert [job.id for job in jobs] == ["met", "first"]


def test_a_claim_over_many_queues_sees_what_its_own_reports_return(store: Store) -> None:
    put(store, new(id="a", queue="one"))  # alone, so that its queue is empty until it is returned
    [job] = claim(store, queue="one")
    wants = [Want("other", 5), Want("one", 5)]
    report = Report(job.id, job.lease, Interrupted())
    answer = store.exchange([report], wants, Claimant("w"), limit=5).result(10)
    assert [each.id for each in answer.jobs] == ["a"]
