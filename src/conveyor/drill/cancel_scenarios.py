"""The scene in which jobs are cancelled: waiting, about to begin, running, about to end."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence

from ..core.job import State
from . import verdict
from .harness import Stage
from .observations import Account
from .probe_jobs import KINDS, LOOK
from .verdict import SOON, Check, Row, of_job, of_worker, row

# Much later than the drill ends.
LATER = 3600
# How long after its cue to end a job is cancelled, in seconds; less than nothing is before it.
AT_THE_END = (-LOOK / 2, 0.0, LOOK / 2, LOOK)

Asked = Mapping[str, float]


def play_cancel(stage: Stage) -> list[Row]:
    """Cancel jobs of each kind in each phase."""
    queued, scheduled = stage.put(), stage.put(delay=LATER)
    asked = _cancel(stage, [*queued, *scheduled])
    worker = stage.start("first")
    retryable = stage.put(fails=True, retries=1, backoff=LATER)
    stage.until(lambda: _all_are(stage, retryable, State.RETRYABLE), 5 * SOON)
    asked |= _cancel(stage, retryable)
    rows = [
        _waited("queued", stage.accounts(queued), asked),
        _waited("scheduled", stage.accounts(scheduled), asked),
        _waited("retryable", stage.accounts(retryable), asked),
        _play_starting(stage),
        *_play_running(stage),
        _play_finishing(stage),
    ]
    told = stage.signal(worker, signal.SIGTERM)
    stage.until(lambda: worker.code is not None, 5 * SOON)
    stage.until(lambda: not worker.left_behind(), SOON)
    seen = worker.seen(worker.left_behind())
    checks = verdict.left_with(seen, 0), verdict.nothing_left(seen)
    return [*rows, of_worker(seen, *checks, since=told)]


def _play_starting(stage: Stage) -> Row:
    """Cancel as soon as the store calls it running, code or no code."""
    asked: dict[str, float] = {}
    for kind in KINDS:
        [job_id] = stage.put([kind])
        deadline = time.monotonic() + SOON
        while stage.record(job_id).state is State.AVAILABLE and time.monotonic() < deadline:
            pass  # no rest: its code is about to begin
        asked |= _cancel(stage, [job_id])
        if kind == "deaf thread":
            stage.cue([job_id])
        _until_ended(stage, [job_id], 2 * SOON)
    accounts = stage.accounts(asked)
    stopped = [each for each in accounts if each.record.state is State.CANCELLED]
    slow = [each for each in accounts if _took(each, asked) > SOON]
    wrong = [each for each in accounts if each not in stopped and each.kind != "deaf thread"]
    return row(
        "starting",
        Check(
            f"ended within {SOON:g} s",
            f"{len(stopped)} of {len(accounts)} cancelled, slowest {_slowest(accounts, asked)}",
            not slow and not wrong,
        ),
        _none_survive(accounts),
        facts=_stories([*slow, *wrong, *_surviving(accounts)], asked),
    )


def _play_running(stage: Stage) -> list[Row]:
    """Cancel while the code runs."""
    jobs = stage.put()
    _until_begun(stage, jobs)
    asked = _cancel(stage, jobs)
    [deaf] = [job_id for job_id in jobs if stage.kind(job_id) == "deaf thread"]
    _until_ended(stage, [each for each in jobs if each != deaf], 2 * SOON)
    since = min(asked.values())
    stage.until(lambda: time.time() > since + SOON + LOOK)
    while_deaf = stage.record(deaf)
    stage.cue(jobs)
    heard = stage.jobs[deaf].cancel(wait=2 * SOON)
    rows: list[Row] = []
    for each in stage.accounts(jobs):
        checks: tuple[Check, ...]
        if each.kind == "deaf thread":
            truly = while_deaf.state is State.RUNNING and while_deaf.cancel_requested_at is not None
            late = not heard and each.record.state is State.COMPLETED
            checks = (
                Check(
                    "called running while it runs",
                    "running, cancelling" if truly else f"{while_deaf.state} while it ran",
                    truly,
                ),
                Check(
                    "completed in the end, and the caller hears it",
                    f"{each.record.state}, {'and said so' if not heard else 'called cancelled'}",
                    late,
                ),
            )
        else:
            is_cancelled = each.record.state is State.CANCELLED and each.began(1) is not None
            checks = (
                Check(
                    f"cancelled within {SOON:g} s",
                    _ended(each, asked),
                    is_cancelled and _took(each, asked) <= SOON,
                ),
            )
        found = of_job(each, *checks, verdict.code_ended(each), since=asked[each.record.id])
        rows.append(Row(f"running {each.kind}", found.checks, found.facts))
    return rows


def _play_finishing(stage: Stage) -> Row:
    """Cancel when it is about to end: either is right, if all say the same."""
    heard: dict[str, bool] = {}
    asked: dict[str, float] = {}
    for pause in AT_THE_END:
        jobs = stage.put()
        _until_begun(stage, jobs)
        if pause < 0:
            asked |= _cancel(stage, jobs)
            time.sleep(-pause)
            stage.cue(jobs)
        else:
            stage.cue(jobs)
            time.sleep(pause)
            asked |= _cancel(stage, jobs)
        _until_ended(stage, jobs, 2 * SOON)
        heard |= {job_id: stage.jobs[job_id].cancel() for job_id in jobs}
    told = {job_id: stage.record(job_id).state for job_id in heard}
    # What has ended can no longer be cancelled, and stays what it is.
    too_late = [job_id for job_id in heard if not heard[job_id] and stage.jobs[job_id].cancel()]
    accounts = stage.accounts(heard)
    wrong = [
        each
        for each in accounts
        if each.record.id in too_late
        or each.began(1) is None
        or each.record.state is not told[each.record.id]
        or each.record.state not in (State.CANCELLED, State.COMPLETED)
        or heard[each.record.id] is not (each.record.state is State.CANCELLED)
    ]
    stopped = sum(each.record.state is State.CANCELLED for each in accounts)
    done = sum(each.record.state is State.COMPLETED for each in accounts)
    odd = f", {len(wrong)} told otherwise" if wrong else ", each told so"
    return row(
        "finishing",
        Check(
            "completed or cancelled, and the caller hears which",
            f"{done} completed, {stopped} cancelled{odd}",
            not wrong,
        ),
        _none_survive(accounts),
        facts=_stories([*wrong, *_surviving(accounts)], asked),
    )


def _cancel(stage: Stage, jobs: Sequence[str]) -> dict[str, float]:
    """Ask for each; returns when."""
    asked: dict[str, float] = {}
    for job_id in jobs:
        asked[job_id] = time.time()
        stage.jobs[job_id].cancel(reason="the drill wants to see it stop")
    return asked


def _waited(phase: str, accounts: Sequence[Account], asked: Asked) -> Row:
    def is_right(each: Account) -> bool:
        record = each.record
        return record.state is State.CANCELLED and not each.notes and _took(each, asked) <= SOON

    right = [each for each in accounts if is_right(each)]
    return row(
        phase,
        Check(
            "cancelled at once, and never run",
            f"{len(right)} of {len(accounts)} cancelled, slowest {_slowest(accounts, asked)}",
            len(right) == len(accounts),
        ),
        facts=_stories([each for each in accounts if each not in right], asked),
    )


def _took(each: Account, asked: Asked) -> float:
    ended = each.record.final_at
    return float("inf") if ended is None else max(0.0, ended - asked[each.record.id])


def _ended(each: Account, asked: Asked) -> str:
    if each.began(1) is None:
        return f"{each.record.state}, and never began"
    return f"{each.record.state} after {_took(each, asked):.2f} s"


def _slowest(accounts: Sequence[Account], asked: Asked) -> str:
    longest = max(_took(each, asked) for each in accounts)
    return "never" if longest == float("inf") else f"{longest:.2f} s"


def _surviving(accounts: Sequence[Account]) -> list[Account]:
    return [each for each in accounts if each.survivors]


def _none_survive(accounts: Sequence[Account]) -> Check:
    left = _surviving(accounts)
    happened = "their code had ended" if not left else f"{len(left)} still ran"
    return Check("only after their code has ended", happened, not left)


def _stories(accounts: Sequence[Account], asked: Asked) -> list[str]:
    told: list[str] = []
    for each in accounts:
        told += [f"{each.kind} {each.record.id}", *verdict.story(each, asked[each.record.id])]
    return told


def _all_are(stage: Stage, jobs: Sequence[str], state: State) -> bool:
    return all(stage.record(job_id).state is state for job_id in jobs)


def _until_begun(stage: Stage, jobs: Sequence[str]) -> None:
    stage.until(lambda: stage.have_begun(jobs))


def _until_ended(stage: Stage, jobs: Sequence[str], within: float) -> None:
    stage.until(lambda: stage.have_ended(jobs), within)
