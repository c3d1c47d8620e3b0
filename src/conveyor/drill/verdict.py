"""Compares what was promised with what was seen. Nothing here looks at anything: facts come in."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..core.job import State
from ..worker.worker import LEAVE
from .observations import Account, WorkerSeen

# "Within a second" of the promises.
SOON = 1.0
# What a worker may take beyond its deadlines: the last commits, and the end of an interpreter.
LEAVING = 1.0
HANDED_BACK = 75


class Check(msgspec.Struct, frozen=True):
    """One promise about one thing: what was promised, what happened, and whether that fits."""

    promised: str
    happened: str
    kept: bool


class Row(msgspec.Struct, frozen=True):
    """A line of the table: all that was promised of one job or worker, and the facts behind it."""

    subject: str
    checks: tuple[Check, ...]
    facts: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether all of it was kept."""
        return all(check.kept for check in self.checks)

    @property
    def happened(self) -> str:
        """What happened, in short."""
        return ", ".join(check.happened for check in self.checks)


def row(subject: str, *checks: Check, facts: Sequence[str] = ()) -> Row:
    """Make a line of the table."""
    return Row(subject, checks, tuple(facts))


def of_job(account: Account, *checks: Check, since: float) -> Row:
    """Make the line of a job, with its story from `since` on."""
    return Row(account.kind, checks, tuple(story(account, since)))


def of_worker(worker: WorkerSeen, *checks: Check, since: float) -> Row:
    """Make the line of a worker."""
    facts = [f"worker {worker.name} is {worker.id or 'unknown to the store'}"]
    if worker.ended_at is not None:
        facts.append(f"{_moment(worker.ended_at - since)} it ended with {worker.code}")
    facts += [f"still there: {process}" for process in worker.left_behind]
    facts += [f"it said: {line}" for line in worker.said.splitlines()[-12:]]
    return Row("the worker", checks, tuple(facts))


# -- promises about jobs ---------------------------------------------------------------------------


def completed(account: Account, since: float) -> Check:
    """It is completed, in its first attempt."""
    record = account.record
    done = record.state is State.COMPLETED
    when = f" after {_span(record.final_at - since)}" if done and record.final_at else ""
    tries = "" if record.attempt == 1 else f" in attempt {record.attempt}"
    return Check(
        "completed in its first attempt", f"{record.state}{when}{tries}", done and not tries
    )


def ran_once(account: Account) -> Check:
    """Nobody began it twice."""
    return Check("run once", f"run {_times(account.record.lease)}", account.record.lease == 1)


def back(account: Account, since: float, within: float, words: str = "back") -> Check:
    """It is out of its first worker's hands within a time."""
    left = account.left(1)
    promised = f"{words} within {within:.3g} s"
    if left is None:
        return Check(promised, f"never {words} ({account.record.state})", kept=False)
    took = max(0.0, left.at - since)
    return Check(promised, f"{words} after {_span(took)}", took <= within)


def again(account: Account, start_up: float) -> Check:
    """Another worker begins it within a second, and it is completed.

    `start_up` is what a program needs to start here and now, where its kind is one.
    """
    within = SOON + (start_up if account.kind in ("process", "command") else 0.0)
    promised = f"run again within {within:.3g} s, and completed"
    left, began, record = account.left(1), account.began(2), account.record
    if left is None or began is None or record.state is not State.COMPLETED:
        return Check(promised, f"not run again to its end ({record.state})", kept=False)
    took = max(0.0, began - left.at)
    return Check(promised, f"run again after {_span(took)}", took <= within)


def uncounted(account: Account, *, crashes: int = 0) -> Check:
    """The run that was cut short does not count as an attempt, but as a crash if it was one."""
    record = account.record
    promised = "the attempt not counted" + (", the crash counted" if crashes else "")
    happened = f"{_count(record.attempt, 'attempt')}, {_count(record.crashes, 'crash')}"
    return Check(promised, happened, (record.attempt, record.crashes) == (1, crashes))


def one_result(account: Account) -> Check:
    """Of two runs, the result of the second is the one that is kept."""
    record = account.record
    given = (record.result or b"").decode()
    kept = record.lease == 2 and (account.kind == "command" or given == "2")
    happened = "one result" if kept else f"run {_times(record.lease)}, result {given or 'none'}"
    return Check("one accepted result, of the run that counts", happened, kept)


def code_ended(account: Account, *, words: str = "its code had ended") -> Check:
    """Whenever the store said that it does not run, none of its code did."""
    left = account.survivors
    happened = words if not left else f"process {', '.join(map(str, left))} went on"
    return Check("never given on while its code runs", happened, not left)


def processes_gone(account: Account, since: float) -> Check:
    """What it had started is gone within a second."""
    promised = f"its processes gone within {SOON:g} s"
    gone = account.gone.get(1)
    if gone is None:
        return Check(promised, "its processes go on", kept=False)
    took = max(0.0, gone - since)
    return Check(promised, f"processes gone after {_span(took)}", took <= SOON)


def evidence(account: Account) -> Check:
    """Its history says how its worker died."""
    said = [each.error.message for each in account.history]
    kept = len(said) == account.record.crashes > 0 and all("SIGKILL" in each for each in said)
    brief = (
        f"SIGKILL noted{_memory(said[-1])}" if kept else f"noted: {'; '.join(said) or 'nothing'}"
    )
    return Check("the evidence on the job: the signal, the memory", brief, kept)


def fenced(account: Account, since: float) -> Check:
    """The run of a worker that woke up too late is stopped."""
    promised = f"its late run ended within {2 * SOON:g} s of waking"
    gone = account.gone.get(1)
    if gone is None:
        return Check(promised, "its late run goes on", kept=False)
    took = max(0.0, gone - since)
    return Check(promised, f"late run ended {_span(took)} after waking", took <= 2 * SOON)


# -- promises about workers ------------------------------------------------------------------------


def left_with(worker: WorkerSeen, code: int) -> Check:
    """It ended with this exit code."""
    happened = "it did not exit" if worker.code is None else f"exit code {worker.code}"
    return Check(f"exit code {code}", happened, worker.code == code)


def out_within(worker: WorkerSeen, since: float, seconds: float) -> Check:
    """It was out in time."""
    promised = f"out within {_span(seconds)}"
    if worker.ended_at is None:
        return Check(promised, "never out", kept=False)
    took = worker.ended_at - since
    return Check(promised, f"out after {_span(took)} of {_span(seconds)}", took <= seconds)


def nothing_left(worker: WorkerSeen) -> Check:
    """No process of it is left."""
    left = worker.left_behind
    happened = "no process left" if not left else f"{_count(len(left), 'process')} left"
    return Check("no process left", happened, not left)


def longest_stop(drain: float, grace: float, start_up: float) -> float:
    """Return how long a worker may take at most from its first signal to its end.

    Threads that do not listen end as it becomes another program, which has to start.
    """
    return drain + grace + LEAVE + LEAVING + start_up


# -- words -----------------------------------------------------------------------------------------


def story(account: Account, since: float) -> list[str]:
    """Tell what was seen of a job, in order; times count from `since`."""
    told: list[tuple[float, str]] = []
    for each in account.sightings:
        live = f"; still running: {', '.join(map(str, each.live))}" if each.live else ""
        told.append((each.at, f"seen {each.state} under lease {each.lease}{live}"))
    told += [(n.at, f"run {n.lease} {n.what} in process {n.pid}") for n in account.notes]
    told += [(line.at, f"noted on the job: {line.error}") for line in account.history]
    told += [(step.at, f"its worker: {step.text}") for step in account.record.stopping]
    return [f"{_moment(at - since)} {what}" for at, what in sorted(told)]


def _memory(evidence: str) -> str:
    found = re.search(r"\d+ MiB", evidence)
    return f" with {found.group()}" if found else ""


def _moment(seconds: float) -> str:
    return f"{seconds:+8.2f} s"


def _span(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _count(number: int, of: str) -> str:
    ending = "" if number == 1 else "es" if of.endswith(("s", "h")) else "s"
    return f"{number} {of}{ending}"
