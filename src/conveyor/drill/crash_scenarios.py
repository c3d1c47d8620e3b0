"""Scenes in which a worker is lost: killed, frozen, or taken down by a job."""

from __future__ import annotations

import signal

from ..core.job import State
from . import verdict
from .harness import Stage
from .observations import Account
from .verdict import SOON, Check, Row, of_job, of_worker, row

LEASE = 2.0
# How much later than its lease's end a frozen worker's job may be taken: others look every second.
SWEEP = 2.0
# How long the keeper of a dead worker may stay to see to its jobs.
KEEPER = 3.0
DEATHS = 3


def play_kill(stage: Stage) -> list[Row]:
    """Kill it with SIGKILL while a job of each kind runs."""
    worker = stage.start("first")
    jobs = stage.put()
    stage.until(lambda: stage.have_begun(jobs))
    stage.start("second")
    killed = stage.signal(worker, signal.SIGKILL)
    stage.until(lambda: stage.have_ended(jobs), 5 * SOON)
    stage.until(lambda: not worker.left_behind(), KEEPER)
    seen = worker.seen(worker.left_behind())
    return [
        *(_killed(each, killed, stage.start_up) for each in stage.accounts(jobs)),
        of_worker(seen, verdict.nothing_left(seen), since=killed),
    ]


def _killed(each: Account, killed: float, start_up: float) -> Row:
    own = [verdict.processes_gone(each, killed)] if each.kind in ("process", "command") else []
    return of_job(
        each,
        *own,
        verdict.back(each, killed, SOON),
        verdict.again(each, start_up),
        verdict.one_result(each),
        verdict.uncounted(each, crashes=1),
        verdict.evidence(each),
        verdict.code_ended(each),
        since=killed,
    )


def play_freeze(stage: Stage) -> list[Row]:
    """SIGSTOP beyond the lease, and SIGCONT."""
    worker = stage.start("first", lease=LEASE)
    jobs = stage.put()
    stage.until(lambda: stage.have_begun(jobs))
    other = stage.start("second", lease=LEASE)
    frozen = stage.signal(worker, signal.SIGSTOP)
    leases = {job_id: stage.record(job_id).lease_until or 0.0 for job_id in jobs}
    stage.until(lambda: stage.have_ended(jobs), LEASE + 4 * SOON)
    woken = stage.signal(worker, signal.SIGCONT)
    stage.stay(SOON)
    # A thread that does not listen comes to its own end, too late.
    cued = stage.cue(jobs)
    stage.until(lambda: all(1 in each.gone for each in stage.accounts(jobs)), 3 * SOON)
    accounts = stage.accounts(jobs)
    stage.signal(other, signal.SIGTERM)
    stage.until(lambda: other.code is not None, 3 * SOON)
    [new] = stage.put(["coroutine"])
    stage.cue([new])
    stage.until(lambda: stage.have_ended([new]), 3 * SOON)
    ran_by = stage.record(new).worker
    goes_on = stage.record(new).state is State.COMPLETED
    seen = worker.seen()
    rows = [
        _frozen(each, frozen, cued if each.kind == "deaf thread" else woken, until=until)
        for each, until in zip(accounts, leases.values(), strict=True)
    ]
    happened = f"it ran a new job {stage.record(new).state}" if not goes_on else "it runs new jobs"
    works_on = Check("it takes new jobs", happened, goes_on and ran_by == worker.id)
    return [*rows, of_worker(seen, works_on, since=frozen)]


def _frozen(each: Account, frozen: float, woken: float, *, until: float) -> Row:
    left = each.left(1)
    early = left is not None and left.at < until
    return of_job(
        each,
        verdict.back(each, frozen, LEASE + SWEEP, "taken"),
        Check(
            "not before its lease has ended",
            f"{until - left.at:.2f} s before its lease ended" if left and early else "in its turn",
            not early,
        ),
        verdict.code_ended(each),
        verdict.fenced(each, woken),
        verdict.one_result(each),
        verdict.uncounted(each, crashes=1),
        since=frozen,
    )


def play_poison(stage: Stage) -> list[Row]:
    """A job that kills its worker, among others."""
    bad = stage.troupe.enqueue_poison()
    stage.watch(bad, "coroutine", stage.folder / "poison")
    others = stage.put()
    stage.cue(others)
    begun, deaths = stage.begun, 0
    for number in range(1, DEATHS + 1):
        deaths += _play_death(stage, bad.id, number)
    last = stage.start("last")
    stage.until(lambda: stage.have_ended([bad.id, *others]), 10 * SOON)
    stage.until(lambda: last.code is not None, 0.3)
    [account] = stage.accounts([bad.id])
    state, crashes = account.record.state, account.record.crashes
    return [
        row(
            "the poison",
            Check(
                "discarded after 3 crashes",
                f"{state} after {crashes} crashes",
                state is State.DISCARDED and crashes == deaths == DEATHS,
            ),
            verdict.evidence(account),
            facts=verdict.story(account, begun),
        ),
        *(
            of_job(each, verdict.completed(each, begun), since=begun)
            for each in stage.accounts(others)
        ),
        of_worker(
            last.seen(),
            Check(
                "the next worker lives",
                "the next worker lives" if last.code is None else f"it ended with {last.code}",
                last.code is None,
            ),
            since=begun,
        ),
    ]


def _play_death(stage: Stage, bad: str, number: int) -> bool:
    """Have a worker take it; say whether that was its end."""
    worker = stage.start(f"worker{number}")
    stage.until(lambda: worker.code is not None, 5 * SOON)
    stage.until(lambda: stage.record(bad).crashes >= number, 3 * SOON)
    return worker.code == -signal.SIGKILL
