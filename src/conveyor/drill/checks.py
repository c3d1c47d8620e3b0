"""Compares what was promised with what was observed. Pure functions of the observations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..core.job import State
from ..worker.shutdown import LEAVE
from .observations import ObservedJob, ObservedWorker

# The "within 1 s" of the promises.
PROMPT_SECONDS = 1.0
# How much longer than its deadlines a worker may take: the last commits, and the interpreter's end.
EXIT_SECONDS = 1.0
RELEASED = 75


class Check(msgspec.Struct, frozen=True):
    """One promise about one subject: what was promised, what happened, and whether that agrees."""

    promised: str
    happened: str
    kept: bool


class Row(msgspec.Struct, frozen=True):
    """A row of the report: all checks of one job or worker, and the facts behind them."""

    subject: str
    checks: tuple[Check, ...]
    facts: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(check.kept for check in self.checks)

    @property
    def happened(self) -> str:
        """What happened, in short."""
        return ", ".join(check.happened for check in self.checks)


def make_row(subject: str, *checks: Check, facts: Sequence[str] = ()) -> Row:
    """Make a row of the report."""
    return Row(subject, checks, tuple(facts))


def job_row(job: ObservedJob, *checks: Check, since: float) -> Row:
    """Make the row of a job, with its timeline from `since` on."""
    return Row(job.kind, checks, tuple(timeline(job, since)))


def worker_row(worker: ObservedWorker, *checks: Check, since: float) -> Row:
    """Make the row of a worker."""
    facts = [f"worker {worker.name} is {worker.id or 'unknown to the store'}"]
    if worker.ended_at is not None:
        facts.append(f"{_offset(worker.ended_at - since)} exited with {worker.code}")
    facts += [f"still running: {process}" for process in worker.leftover]
    facts += [f"stderr: {line}" for line in worker.stderr.splitlines()[-12:]]
    return Row("the worker", checks, tuple(facts))


# -- promises about jobs ---------------------------------------------------------------------------


def completed(job: ObservedJob, since: float) -> Check:
    """The job completed in its first attempt."""
    record = job.record
    done = record.state is State.COMPLETED
    when = f" after {_seconds(record.final_at - since)}" if done and record.final_at else ""
    attempts = "" if record.attempt == 1 else f" in attempt {record.attempt}"
    return Check(
        "completed in its first attempt", f"{record.state}{when}{attempts}", done and not attempts
    )


def ran_once(job: ObservedJob) -> Check:
    """The job was claimed only once."""
    return Check("ran once", f"ran {_times(job.record.lease)}", job.record.lease == 1)


def returned(job: ObservedJob, since: float, within: float, word: str = "returned") -> Check:
    """Its first worker lost the job within a time."""
    released = job.released(1)
    promised = f"{word} within {within:.3g} s"
    if released is None:
        return Check(promised, f"never {word} ({job.record.state})", kept=False)
    took = max(0.0, released.at - since)
    return Check(promised, f"{word} after {_seconds(took)}", took <= within)


def ran_again(job: ObservedJob, startup_seconds: float) -> Check:
    """Another worker began the job within a second, and it completed.

    `startup_seconds` is what a program needs to start on this machine, for kinds that start one.
    """
    within = PROMPT_SECONDS + (startup_seconds if job.kind in ("process", "command") else 0.0)
    promised = f"ran again within {within:.3g} s and completed"
    released, began_at, record = job.released(1), job.began_at(2), job.record
    if released is None or began_at is None or record.state is not State.COMPLETED:
        return Check(promised, f"did not run again to its end ({record.state})", kept=False)
    took = max(0.0, began_at - released.at)
    return Check(promised, f"ran again after {_seconds(took)}", took <= within)


def attempt_not_counted(job: ObservedJob, *, crashes: int = 0) -> Check:
    """The interrupted run does not count as an attempt, but as a crash if it was one."""
    record = job.record
    promised = "attempt not counted" + (", crash counted" if crashes else "")
    happened = f"{_count(record.attempt, 'attempt')}, {_count(record.crashes, 'crash')}"
    return Check(promised, happened, (record.attempt, record.crashes) == (1, crashes))


def single_result(job: ObservedJob) -> Check:
    """Of two runs, only the result of the second was accepted."""
    record = job.record
    result = (record.result or b"").decode()
    kept = record.lease == 2 and (job.kind == "command" or result == "2")
    happened = "one result" if kept else f"ran {_times(record.lease)}, result {result or 'none'}"
    return Check("one result, of the run that counts", happened, kept)


def code_had_ended(job: ObservedJob) -> Check:
    """None of the job's code ran while the store reported it as not running."""
    pids = job.overlapping_pids
    happened = (
        "its code had ended" if not pids else f"process {', '.join(map(str, pids))} still ran"
    )
    return Check("never released while its code runs", happened, not pids)


def processes_gone(job: ObservedJob, since: float) -> Check:
    """The processes that the job had started were gone within a second."""
    promised = f"processes gone within {PROMPT_SECONDS:g} s"
    return _ended_within(PROMPT_SECONDS, promised, "processes", job, since)


def crash_recorded(job: ObservedJob) -> Check:
    """The job's history records how its worker died."""
    messages = [each.error.message for each in job.history]
    kept = len(messages) == job.record.crashes > 0 and all("SIGKILL" in each for each in messages)
    happened = (
        f"SIGKILL recorded{_memory(messages[-1])}"
        if kept
        else f"recorded: {'; '.join(messages) or 'nothing'}"
    )
    return Check("signal and memory use recorded on the job", happened, kept)


def late_run_stopped(job: ObservedJob, since: float) -> Check:
    """The run of a worker that resumed too late was stopped."""
    promised = f"late run stopped within {2 * PROMPT_SECONDS:g} s of resuming"
    return _ended_within(2 * PROMPT_SECONDS, promised, "late run", job, since)


def _ended_within(limit: float, promised: str, what: str, job: ObservedJob, since: float) -> Check:
    ended_at = job.ended_at.get(1)
    if ended_at is None:
        return Check(promised, f"{what} still running", kept=False)
    took = max(0.0, ended_at - since)
    return Check(promised, f"{what} ended after {_seconds(took)}", took <= limit)


# -- promises about workers ------------------------------------------------------------------------


def runs_on(worker: ObservedWorker, promised: str, happened: str = "") -> Check:
    """The worker still runs. `happened` is how that is said, if not as it was promised."""
    runs = worker.code is None
    said = (happened or promised) if runs else f"it exited with {worker.code}"
    return Check(promised, said, runs)


def exited_with(worker: ObservedWorker, code: int) -> Check:
    """The worker exited with this code."""
    happened = "did not exit" if worker.code is None else f"exit code {worker.code}"
    return Check(f"exit code {code}", happened, worker.code == code)


def exited_within(worker: ObservedWorker, since: float, seconds: float) -> Check:
    """The worker exited in time."""
    promised = f"exited within {_seconds(seconds)}"
    if worker.ended_at is None:
        return Check(promised, "never exited", kept=False)
    took = worker.ended_at - since
    return Check(promised, f"exited after {_seconds(took)} of {_seconds(seconds)}", took <= seconds)


def no_process_left(worker: ObservedWorker) -> Check:
    """No process of the worker is left."""
    left = worker.leftover
    happened = "no process left" if not left else f"{_count(len(left), 'process')} left"
    return Check("no process left", happened, not left)


def maximum_shutdown_time(drain: float, grace: float, startup_seconds: float) -> float:
    """Return how long a worker may take from its first signal to its exit.

    Threads that ignore the request end when the worker executes another program, which must start.
    """
    return drain + grace + LEAVE + EXIT_SECONDS + startup_seconds


# -- wording ---------------------------------------------------------------------------------------


def timeline(job: ObservedJob, since: float) -> list[str]:
    """Return what was observed of a job, in order; times are relative to `since`."""
    entries: list[tuple[float, str]] = []
    for each in job.observations:
        live = f"; still running: {', '.join(map(str, each.live))}" if each.live else ""
        entries.append((each.at, f"seen {each.state} under lease {each.lease}{live}"))
    entries += [(e.at, f"run {e.lease} {e.what} in process {e.pid}") for e in job.events]
    entries += [(line.at, f"recorded on the job: {line.error}") for line in job.history]
    entries += [(step.at, f"its worker: {step.text}") for step in job.record.stopping]
    return [f"{_offset(at - since)} {what}" for at, what in sorted(entries)]


def _memory(message: str) -> str:
    found = re.search(r"\d+ MiB", message)
    return f", {found.group()}" if found else ""


def _offset(seconds: float) -> str:
    return f"{seconds:+8.2f} s"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _count(number: int, noun: str) -> str:
    ending = "" if number == 1 else "es" if noun.endswith(("s", "h")) else "s"
    return f"{number} {noun}{ending}"
