"""The scenario in which jobs are cancelled: waiting, starting, running and finishing."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence

from ..core.job import State
from . import checks
from .checks import PROMPT_SECONDS, Check, Row, job_row, make_row, worker_row
from .harness import Harness
from .observations import ObservedJob
from .probe_jobs import KINDS, POLL

# Much later than the end of the drill.
LATER = 3600
# When a job is cancelled, in seconds after it may finish; negative is before that.
CANCEL_OFFSETS = (-POLL / 2, 0.0, POLL / 2, POLL)

# When the cancel of each job was requested.
CancelTimes = Mapping[str, float]


def run_cancel(harness: Harness) -> list[Row]:
    """Cancel jobs of each kind in each phase."""
    queued, scheduled = harness.enqueue_probes(), harness.enqueue_probes(delay=LATER)
    cancelled_at = _cancel(harness, [*queued, *scheduled])
    worker = harness.start_worker("first")
    retryable = harness.enqueue_probes(fails=True, retries=1, backoff=LATER)
    harness.wait_until(lambda: _all_are(harness, retryable, State.RETRYABLE), 5 * PROMPT_SECONDS)
    cancelled_at |= _cancel(harness, retryable)
    rows = [
        _waited("queued", harness.observed_jobs(queued), cancelled_at),
        _waited("scheduled", harness.observed_jobs(scheduled), cancelled_at),
        _waited("retryable", harness.observed_jobs(retryable), cancelled_at),
        _run_starting(harness),
        *_run_running(harness),
        _run_finishing(harness),
    ]
    signalled = harness.send_signal(worker, signal.SIGTERM)
    harness.wait_until(lambda: worker.code is not None, 5 * PROMPT_SECONDS)
    harness.wait_until(lambda: not worker.leftover_processes(), PROMPT_SECONDS)
    seen = worker.observed(worker.leftover_processes())
    exited = checks.exited_with(seen, 0)
    return [*rows, worker_row(seen, exited, checks.no_process_left(seen), since=signalled)]


def _run_starting(harness: Harness) -> Row:
    """Cancel as soon as the store reports the job as running, before or after its code begins."""
    cancelled_at: dict[str, float] = {}
    for kind in KINDS:
        [job_id] = harness.enqueue_probes([kind])
        deadline = time.monotonic() + PROMPT_SECONDS
        while harness.get_record(job_id).state is State.AVAILABLE and time.monotonic() < deadline:
            pass  # without a pause: its code is about to begin
        cancelled_at |= _cancel(harness, [job_id])
        if kind == "deaf thread":
            harness.let_finish([job_id])
        _until_ended(harness, [job_id], 2 * PROMPT_SECONDS)
    observed = harness.observed_jobs(cancelled_at)
    stopped = [each for each in observed if each.record.state is State.CANCELLED]
    slow = [each for each in observed if _took(each, cancelled_at) > PROMPT_SECONDS]
    wrong = [each for each in observed if each not in stopped and each.kind != "deaf thread"]
    slowest = _slowest(observed, cancelled_at)
    return make_row(
        "starting",
        Check(
            f"ended within {PROMPT_SECONDS:g} s",
            f"{len(stopped)} of {len(observed)} cancelled, slowest {slowest}",
            not slow and not wrong,
        ),
        _none_survive(observed),
        facts=_timelines([*slow, *wrong, *_surviving(observed)], cancelled_at),
    )


def _run_running(harness: Harness) -> list[Row]:
    """Cancel jobs whose code runs."""
    jobs = harness.enqueue_probes()
    _until_begun(harness, jobs)
    cancelled_at = _cancel(harness, jobs)
    [deaf] = [job_id for job_id in jobs if harness.kind_of(job_id) == "deaf thread"]
    _until_ended(harness, [each for each in jobs if each != deaf], 2 * PROMPT_SECONDS)
    since = min(cancelled_at.values())
    harness.wait_until(lambda: time.time() > since + PROMPT_SECONDS + POLL)
    while_running = harness.get_record(deaf)
    harness.let_finish(jobs)
    cancelled = harness.jobs[deaf].cancel(wait=2 * PROMPT_SECONDS)
    rows: list[Row] = []
    for each in harness.observed_jobs(jobs):
        own: tuple[Check, ...]
        if each.kind == "deaf thread":
            shown_running = (
                while_running.state is State.RUNNING
                and while_running.cancel_requested_at is not None
            )
            is_late = not cancelled and each.record.state is State.COMPLETED
            own = (
                Check(
                    "shown as running while it runs",
                    "running, cancelling"
                    if shown_running
                    else f"{while_running.state} while it ran",
                    shown_running,
                ),
                Check(
                    "completed in the end, and reported so",
                    f"{each.record.state}, reported as {'cancelled' if cancelled else 'too late'}",
                    is_late,
                ),
            )
        else:
            is_cancelled = each.record.state is State.CANCELLED and each.began_at(1) is not None
            own = (
                Check(
                    f"cancelled within {PROMPT_SECONDS:g} s",
                    _ended(each, cancelled_at),
                    is_cancelled and _took(each, cancelled_at) <= PROMPT_SECONDS,
                ),
            )
        found = job_row(each, *own, checks.code_had_ended(each), since=cancelled_at[each.record.id])
        rows.append(Row(f"running {each.kind}", found.checks, found.facts))
    return rows


def _run_finishing(harness: Harness) -> Row:
    """Cancel just before or after the job ends: either outcome is right if it is reported so."""
    reported: dict[str, bool] = {}
    cancelled_at: dict[str, float] = {}
    for pause in CANCEL_OFFSETS:
        jobs = harness.enqueue_probes()
        _until_begun(harness, jobs)
        if pause < 0:
            cancelled_at |= _cancel(harness, jobs)
            time.sleep(-pause)
            harness.let_finish(jobs)
        else:
            harness.let_finish(jobs)
            time.sleep(pause)
            cancelled_at |= _cancel(harness, jobs)
        _until_ended(harness, jobs, 2 * PROMPT_SECONDS)
        reported |= {job_id: harness.jobs[job_id].cancel() for job_id in jobs}
    states = {job_id: harness.get_record(job_id).state for job_id in reported}
    # An ended job cannot be cancelled, and keeps its state.
    too_late = [
        job_id for job_id in reported if not reported[job_id] and harness.jobs[job_id].cancel()
    ]
    observed = harness.observed_jobs(reported)
    wrong = [
        each
        for each in observed
        if each.record.id in too_late
        or each.began_at(1) is None
        or each.record.state is not states[each.record.id]
        or each.record.state not in (State.CANCELLED, State.COMPLETED)
        or reported[each.record.id] is not (each.record.state is State.CANCELLED)
    ]
    stopped = sum(each.record.state is State.CANCELLED for each in observed)
    done = sum(each.record.state is State.COMPLETED for each in observed)
    suffix = f", {len(wrong)} reported otherwise" if wrong else ", each reported so"
    return make_row(
        "finishing",
        Check(
            "completed or cancelled, as reported to the caller",
            f"{done} completed, {stopped} cancelled{suffix}",
            not wrong,
        ),
        _none_survive(observed),
        facts=_timelines([*wrong, *_surviving(observed)], cancelled_at),
    )


def _cancel(harness: Harness, jobs: Sequence[str]) -> dict[str, float]:
    """Request the cancel of each job; return the times."""
    cancelled_at: dict[str, float] = {}
    for job_id in jobs:
        cancelled_at[job_id] = time.time()
        harness.jobs[job_id].cancel(reason="cancelled by the drill")
    return cancelled_at


def _waited(phase: str, observed: Sequence[ObservedJob], cancelled_at: CancelTimes) -> Row:
    def is_right(each: ObservedJob) -> bool:
        record = each.record
        return (
            record.state is State.CANCELLED
            and not each.events
            and _took(each, cancelled_at) <= PROMPT_SECONDS
        )

    right = [each for each in observed if is_right(each)]
    slowest = _slowest(observed, cancelled_at)
    return make_row(
        phase,
        Check(
            "cancelled at once, never run",
            f"{len(right)} of {len(observed)} cancelled, slowest {slowest}",
            len(right) == len(observed),
        ),
        facts=_timelines([each for each in observed if each not in right], cancelled_at),
    )


def _took(each: ObservedJob, cancelled_at: CancelTimes) -> float:
    ended = each.record.final_at
    return float("inf") if ended is None else max(0.0, ended - cancelled_at[each.record.id])


def _ended(each: ObservedJob, cancelled_at: CancelTimes) -> str:
    if each.began_at(1) is None:
        return f"{each.record.state}, and never began"
    return f"{each.record.state} after {_took(each, cancelled_at):.2f} s"


def _slowest(observed: Sequence[ObservedJob], cancelled_at: CancelTimes) -> str:
    longest = max(_took(each, cancelled_at) for each in observed)
    return "never" if longest == float("inf") else f"{longest:.2f} s"


def _surviving(observed: Sequence[ObservedJob]) -> list[ObservedJob]:
    return [each for each in observed if each.overlapping_pids]


def _none_survive(observed: Sequence[ObservedJob]) -> Check:
    left = _surviving(observed)
    happened = "their code had ended" if not left else f"{len(left)} still ran"
    return Check("only after their code has ended", happened, not left)


def _timelines(observed: Sequence[ObservedJob], cancelled_at: CancelTimes) -> list[str]:
    entries: list[str] = []
    for each in observed:
        entries += [
            f"{each.kind} {each.record.id}",
            *checks.timeline(each, cancelled_at[each.record.id]),
        ]
    return entries


def _all_are(harness: Harness, jobs: Sequence[str], state: State) -> bool:
    return all(harness.get_record(job_id).state is state for job_id in jobs)


def _until_begun(harness: Harness, jobs: Sequence[str]) -> None:
    harness.wait_until(lambda: harness.have_begun(jobs))


def _until_ended(harness: Harness, jobs: Sequence[str], within: float) -> None:
    harness.wait_until(lambda: harness.have_ended(jobs), within)
