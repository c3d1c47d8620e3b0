"""Scenes in which a worker is told to stop, and the jobs end in time or do not."""

from __future__ import annotations

import signal

from ..worker.worker import LEAVE
from . import verdict
from .harness import GRACE, Stage
from .probe_jobs import KINDS
from .verdict import LEAVING, SOON, Row, of_job, of_worker

LONG_DRAIN, SHORT_DRAIN = 8.0, 1.0
# How long the jobs go on after the signal, where they are to end in time.
LONGER = 0.5


def play_stop(stage: Stage) -> list[Row]:
    """SIGTERM, and the jobs end before the deadline."""
    worker = stage.start("first", drain=LONG_DRAIN)
    jobs = stage.put()
    stage.until(lambda: stage.have_begun(jobs))
    told = stage.signal(worker, signal.SIGTERM)
    stage.stay(LONGER)
    cued = stage.cue(jobs)
    stage.until(lambda: worker.code is not None, LONG_DRAIN + GRACE + LEAVE + LEAVING)
    stage.until(lambda: not worker.left_behind(), SOON)
    seen = worker.seen(worker.left_behind())
    return [
        *(
            of_job(each, verdict.completed(each, told), verdict.ran_once(each), since=told)
            for each in stage.accounts(jobs)
        ),
        of_worker(
            seen,
            verdict.left_with(seen, 0),
            # With its last job, long before its deadline.
            verdict.out_within(seen, told, cued - told + LEAVING + stage.start_up),
            verdict.nothing_left(seen),
            since=told,
        ),
    ]


def play_drain(stage: Stage) -> list[Row]:
    """SIGTERM, and the jobs would go on for ever."""
    worker = stage.start("first", drain=SHORT_DRAIN)
    jobs = stage.put()
    stage.until(lambda: stage.have_begun(jobs))
    stage.start("second")
    told = stage.signal(worker, signal.SIGTERM)
    longest = verdict.longest_stop(SHORT_DRAIN, GRACE, stage.start_up)
    stage.until(lambda: worker.code is not None, longest + SOON)
    stage.until(lambda: not worker.left_behind(), SOON)
    seen = worker.seen(worker.left_behind())
    stage.until(lambda: stage.have_ended(jobs), 3 * SOON)
    rows: list[Row] = []
    for each in stage.accounts(jobs):
        # A thread that does not listen ends with the process, and that only when it must.
        within = (
            verdict.longest_stop(0.0, GRACE, stage.start_up) if each.kind == "deaf thread" else SOON
        )
        asked = told + SHORT_DRAIN
        rows.append(
            of_job(
                each,
                verdict.back(each, asked, within),
                verdict.again(each, stage.start_up),
                verdict.uncounted(each),
                verdict.code_ended(each),
                since=told,
            )
        )
    checks = (
        verdict.left_with(seen, verdict.HANDED_BACK),
        verdict.out_within(seen, told, longest),
        verdict.nothing_left(seen),
    )
    assert len(rows) == len(KINDS)
    return [*rows, of_worker(seen, *checks, since=told)]
