"""`workers`, `ps` and `why` name the version problem of a rolling deploy."""

from __future__ import annotations

import msgspec
from shell import Command

from conveyor import Conveyor
from conveyor.store.messages import Filter
from conveyor.system.process_identity import worker_info


def test_a_worker_that_returned_jobs_for_its_code_is_named(
    conveyor: Command, belt: Conveyor
) -> None:
    info = worker_info("old-1", now=belt.store.now(), slots=1, queues=("mail",))
    belt.store.beat(info).result()
    assert conveyor("workers").err == ""
    belt.store.beat(msgspec.structs.replace(info, unsupported={"send": 2})).result()
    for command in ("workers", "ps"):
        said = conveyor(command).err
        assert "old-1 has other code than its jobs, and returned those of send (2 jobs)" in said
    assert conveyor("workers", "--json").data[0]["unsupported"] == {"send": 2}


def test_a_job_that_the_worker_does_not_know_is_explained(
    conveyor: Command, belt: Conveyor
) -> None:
    job_id = conveyor("enqueue", "shop.unknown", "--queue", "mail").out.strip()
    belt.work(keep=False)
    [job] = belt.store.find(Filter(), limit=9).result()
    assert (job.id, job.attempt) == (job_id, 0)
    said = conveyor("why", job_id).out
    assert "no task named 'shop.unknown' is registered" in said
    assert "deploy workers of queue 'mail'" in said
