"""What is wrong with a system, from a snapshot of it: sentences, their causes, and what to do.

The dashboard, `conveyor top`, `conveyor doctor` and alerts show the same problems, because all are
found here. Nothing here reads a clock or a store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from .problem import Level, SystemFacts, SystemProblem
from .queue_problems import queue_problems, unwatched_jobs
from .record import Record
from .spans import count
from .worker_problems import job_problems, scaler_problems, worker_problems

# How long a problem must last, in seconds, before it is shown, and how long it is shown after it
# has gone, so that nothing flickers. A full queue may have room in a moment.
SHOWN_AFTER: Mapping[str, float] = {"full": 5.0, "sick": 5.0, "blind": 30.0}
SHOWN_ON = 10.0


def find_problems(snapshot: SystemFacts, *, known: Collection[str] = ()) -> list[SystemProblem]:
    """Return what is wrong, the worst first. `known` are the keys of what was wrong before."""
    found = [
        *unwatched_jobs(snapshot),
        *queue_problems(snapshot, known),
        *job_problems(snapshot),
        *worker_problems(snapshot),
        *scaler_problems(snapshot),
    ]
    return sorted(found, key=lambda problem: problem.level != "bad")


class Sighting(msgspec.Struct, frozen=True):
    """A problem, since when it lasts, and when it was last found."""

    problem: SystemProblem
    since: float
    seen_at: float

    def is_shown(self, now: float) -> bool:
        """Whether the problem has lasted for long enough to be shown."""
        kind = self.problem.key.partition("-")[0]
        return now - self.since >= SHOWN_AFTER.get(kind, 0.0)


def follow(
    sightings: Mapping[str, Sighting], found: Sequence[SystemProblem], now: float
) -> dict[str, Sighting]:
    """Return the problems that last, by key: those found now, and those found a moment ago."""
    present = {
        problem.key: Sighting(
            problem, sightings[problem.key].since if problem.key in sightings else now, now
        )
        for problem in found
    }
    lasting = {
        key: each
        for key, each in sightings.items()
        if key not in present and each.is_shown(each.seen_at) and now - each.seen_at < SHOWN_ON
    }
    return present | lasting


class Verdict(Record, frozen=True):
    """How a system is, in one sentence, and a second one that says more."""

    level: Level
    claim: str
    note: str


def give_verdict(
    problems: Sequence[SystemProblem], *, queues: int, workers: int, hosts: int
) -> Verdict:
    """Return how a system is that has these problems, and so many queues and workers."""
    bad = [each for each in problems if each.level == "bad"]
    troubled = {each.subject.name for each in bad if each.subject.kind == "queue"}
    if troubled:
        are = "is" if len(troubled) == 1 else "are"
        well = queues - len(
            {each.subject.name for each in problems if each.subject.kind == "queue"}
        )
        note = f"{well} {'is' if well == 1 else 'are'} well" if well else ""
        return Verdict("bad", f"{len(troubled)} of {count(queues, 'queue')} {are} in trouble", note)
    if bad:
        return Verdict("bad", f"{count(len(bad), 'problem')} found", "no queue is in trouble")
    if problems:
        return Verdict("warn", count(len(problems), "warning"), "no queue is in trouble")
    if not workers:
        return Verdict("ok", "All is well", "no worker is running, and no job waits for one")
    on = f"{count(workers, 'worker')} on {count(hosts, 'host')}"
    return Verdict("ok", "All is well", f"no job waits longer than usual; {on}")
