"""What counts as a problem, and the sentence that says so: one table, a row for each rule."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor.core.job import JobRecord, Options, QueueInfo, State, StopNote, WorkerInfo
from conveyor.core.problem import LaneFacts, QueueFacts, ScalerFacts, SystemFacts, SystemProblem
from conveyor.core.problems import SHOWN_ON, Sighting, find_problems, follow, give_verdict
from conveyor.core.queue_problems import patience

NOW = 1_000_000.0


def worker(**given: Any) -> WorkerInfo:
    known: dict[str, Any] = {
        "id": "w", "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0, "started_at": 1.0,
        "slots": 4, "running": 4, "queues": ("q",), "beat_at": NOW,
    }  # fmt: skip
    return WorkerInfo(**(known | given))


def lane(
    waited: float | None = 60.0, waiting: int = 3, requires: tuple[str, ...] = ()
) -> LaneFacts:
    oldest = None if waited is None else NOW - waited
    return LaneFacts(requires=requires, waiting=waiting, oldest_at=oldest)


def queue(
    *lanes: LaneFacts, name: str = "q", counts: dict[State, int] | None = None, **given: Any
) -> QueueFacts:
    known = {State.AVAILABLE: sum(each.waiting for each in lanes)}
    of_info = {key: given.pop(key) for key in ("capacity", "paused", "offers") if key in given}
    info = QueueInfo(
        name=name, counts=known if counts is None else counts,
        **({"capacity": None, "paused": False} | of_info),
    )  # fmt: skip
    return QueueFacts(info=info, lanes=lanes, **given)


def job(**given: Any) -> JobRecord:
    known: dict[str, Any] = {
        "seq": 1, "id": "0123", "task": "t", "queue": "q", "args": b"{}", "state": State.RUNNING,
        "priority": 0, "run_at": 1.0, "enqueued_at": 1.0, "worker": "w",
        "options": Options(grace=10.0),
    }  # fmt: skip
    return JobRecord(**(known | given))


def snapshot(
    *queues: QueueFacts, workers: tuple[WorkerInfo, ...] = (), **given: Any
) -> SystemFacts:
    return SystemFacts(now=NOW, queues=queues, workers=workers, **given)


def told(found: list[SystemProblem]) -> list[str]:
    """Return the problems as a person reads them."""
    return [f"{each.level}: {each.subject.name} {each.explanation()}" for each in found]


RATES = {"enqueued_rate": 7.14, "ended_rate": 5.2, "started_rate": 5.0}
STEADY = {"enqueued_rate": 5.0, "ended_rate": 5.0, "started_rate": 5.0}
SCALER = ScalerFacts(at=NOW, every=5.0)
HELD = ScalerFacts(at=NOW, every=5.0, held=("3 jobs without a free slot; cost_cap 12 is reached",))

TABLE: dict[str, tuple[SystemFacts, list[str]]] = {
    "a busy system": (snapshot(queue(lane(5.0), **RATES), workers=(worker(),)), []),
    "falling behind": (
        snapshot(queue(lane(250.0), usual_wait=2.0, **RATES), workers=(worker(),)),
        [
            ("bad: q is falling behind: its oldest job has waited 4 min 10 s, and 2 s is usual; "
            "7.1 jobs a second arrive and 5.2 end. "
            "Because no slot is free: 4 of 4 are busy, in 1 worker.")
        ],
    ),
    "behind, with free slots, and it grows": (
        snapshot(queue(lane(31.0), **RATES), workers=(worker(running=1),)),
        [
            ("bad: q is falling behind: its oldest job has waited 31 s; "
            "7.1 jobs a second arrive and 5.2 end.")
        ],
    ),
    "slow but steady, with free slots": (
        snapshot(queue(lane(31.0), **STEADY), workers=(worker(running=1),)), [],
    ),
    "nothing starts although slots are free": (
        snapshot(queue(lane(31.0)), workers=(worker(running=1),)),
        [
            ("bad: q keeps jobs waiting: its oldest job has waited 31 s; "
            "0 jobs a second arrive and 0 end.")
        ],
    ),
    "no slot is free, and it does not grow": (
        snapshot(queue(lane(31.0), **STEADY), workers=(worker(),)),
        [
            ("bad: q keeps jobs waiting: its oldest job has waited 31 s; "
            "5.0 jobs a second arrive and 5.0 end. "
            "Because no slot is free: 4 of 4 are busy, in 1 worker.")
        ],
    ),
    "as long as is usual": (
        snapshot(queue(lane(90.0), usual_wait=10.0, **RATES), workers=(worker(),)), [],
    ),
    "attempts fail": (
        snapshot(
            queue(
                lane(60.0), failed_share=0.31, counts={State.AVAILABLE: 3, State.RETRYABLE: 9},
                **RATES,
            ),
            workers=(worker(running=1),),
        ),
        [
            ("bad: q is falling behind: its oldest job has waited 1 min; "
            "7.1 jobs a second arrive and 5.2 end. "
            "Because 31% of its attempts fail; 9 jobs will be retried.")
        ],
    ),
    "behind because of the scaler": (
        snapshot(queue(lane(60.0), **RATES), workers=(worker(running=1),), scaler=HELD),
        [
            ("bad: q is falling behind: its oldest job has waited 1 min; "
            "7.1 jobs a second arrive and 5.2 end. Because scaler may not start more machines: "
            "3 jobs without a free slot; cost_cap 12 is reached."),
            ("warn: scaler cannot start all machines that are needed. "
            "Because 3 jobs without a free slot; cost_cap 12 is reached."),
        ],
    ),
    "no worker serves it": (
        snapshot(queue(lane(31.0, waiting=1))),
        [
            ("bad: q has 1 job that no worker can run; the oldest has waited 31 s. "
            "Because no worker serves the queue.")
        ],
    ),
    "a worker is about to come": (snapshot(queue(lane(29.0))), []),
    "no worker usually for long": (snapshot(queue(lane(31.0), usual_wait=60.0)), []),
    "every worker is quiet": (
        snapshot(queue(lane()), workers=(worker(quiet=True),)),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because w is quiet, so it claims nothing.")
        ],
    ),
    "a label is missing": (
        snapshot(queue(lane(requires=("big", "gpu"))), workers=(worker(labels=("big",)),)),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because gpu is a label that they require, and no worker of the queue has it.")
        ],
    ),
    "no worker has both labels": (
        snapshot(
            queue(lane(requires=("big", "gpu"))),
            workers=(worker(labels=("big",)), worker(id="v", labels=("gpu",))),
        ),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because no worker of the queue may run jobs that require big, gpu.")
        ],
    ),
    "no worker may run commands": (
        snapshot(queue(lane(requires=("commands",))), workers=(worker(),)),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because no worker of the queue may run commands.")
        ],
    ),
    "all workers are choosy": (
        snapshot(queue(lane()), workers=(worker(labels=("gpu!only",)),)),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because all workers of the queue run only jobs that require their !only labels.")
        ],
    ),
    "all machines are sick": (
        snapshot(queue(lane()), workers=(worker(sick={"process": "no memory"}),)),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because w cannot start process jobs: no memory."),
            "warn: w cannot start jobs on its machine: process jobs: no memory.",
        ],
    ),
    "one lane is served and one is not": (
        snapshot(
            queue(lane(5.0), lane(60.0, requires=("gpu",)), **STEADY), workers=(worker(),)
        ),
        [
            ("bad: q has 3 jobs that no worker can run; the oldest has waited 1 min. "
            "Because gpu is a label that they require, and no worker of the queue has it.")
        ],
    ),
    "a producer waits at a rendezvous that nobody serves": (
        snapshot(queue(lane(None, waiting=1), capacity=0)),
        ["bad: q has 1 job that no worker can run. Because no worker serves the queue."],
    ),
    "full with producers": (
        snapshot(queue(lane(1.0, waiting=500), capacity=500, offers=7), workers=(worker(),)),
        ["warn: q is full (500 of 500); 7 producers wait for room."],
    ),
    "full without producers": (
        snapshot(queue(lane(1.0, waiting=500), capacity=500), workers=(worker(),)), [],
    ),
    "a producer waits with more than there is room for": (
        snapshot(queue(lane(1.0, waiting=3), capacity=5, offers=1), workers=(worker(),)),
        [],
    ),
    "one producer waits": (
        snapshot(queue(lane(1.0, waiting=5), capacity=5, offers=1), workers=(worker(),)),
        ["warn: q is full (5 of 5); 1 producer waits for room."],
    ),
    "paused with jobs": (
        snapshot(queue(lane(999.0, waiting=1), paused=True)),
        ["warn: q is paused; 1 job waits."],
    ),
    "paused without jobs": (snapshot(queue(paused=True)), []),
    "a silent worker": (
        snapshot(workers=(worker(beat_at=NOW - 48.0, running=3), worker(id="v"))),
        [
            ("warn: w has been silent for 48 s; "
            "its 3 jobs return to their queues when their leases expire.")
        ],
    ),
    "a silent worker with one job": (
        snapshot(workers=(worker(beat_at=NOW - 48.0, running=1),)),
        [
            ("warn: w has been silent for 48 s; "
            "its 1 job returns to its queue when its lease expires.")
        ],
    ),
    "a silent worker without jobs": (
        snapshot(workers=(worker(beat_at=NOW - 48.0, running=0),)),
        ["warn: w has been silent for 48 s."],
    ),
    "a worker that missed one heartbeat": (
        snapshot(workers=(worker(beat_at=NOW - 9.0, running=3),)), [],
    ),
    "jobs run and no worker is alive": (
        snapshot(
            queue(name="a", counts={State.RUNNING: 1}), queue(name="b", counts={State.RUNNING: 2})
        ),
        [
            ("bad: b is one of the queues with 3 running jobs but no live worker. "
            "Because only a worker returns jobs of dead workers to their queues.")
        ],
    ),
    "old code": (
        snapshot(workers=(worker(unsupported={"resize": 2}),)),
        [
            ("warn: w returned 2 jobs, because its code lacks their task or does not take their "
            "arguments. Because resize is the task of 2 jobs.")
        ],
    ),
    "a job that does not stop": (
        snapshot(
            stopping=(job(cancel_requested_at=NOW - 300, stopping=(StopNote(NOW, "SIGTERM"),)),)
        ),
        [
            ("bad: 0123 was asked to stop 5 min ago, and its code still runs in w. "
            "Because the last step was: SIGTERM.")
        ],
    ),
    "a job within its grace period": (
        snapshot(stopping=(job(cancel_requested_at=NOW - 39.0),)), [],
    ),
    "a forced stop has no grace period": (
        snapshot(stopping=(job(cancel_requested_at=NOW - 39.0, cancel_forced=True),)),
        ["bad: 0123 was asked to stop 39 s ago, and its code still runs in w."],
    ),
    "a scaler that runs": (snapshot(scaler=SCALER), []),
    "an overdue scaler": (
        snapshot(scaler=ScalerFacts(at=NOW - 300, every=5.0, held=("x",))),
        ["warn: scaler has not run for 5 min; it runs every 5 s."],
    ),
    "a scaler that was removed": (
        snapshot(scaler=ScalerFacts(at=NOW - 90_000, every=5.0, held=("x",))), [],
    ),
    "an unreachable provider": (
        snapshot(scaler=ScalerFacts(at=NOW, every=5.0, blind={"cloud": "timeout"})),
        ["warn: cloud cannot be reached by the scaler: timeout."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_each_rule_finds_what_is_wrong_and_says_why(name: str) -> None:
    given, expected = TABLE[name]
    assert told(find_problems(given)) == expected


def test_the_worst_come_first_and_each_has_a_key_of_its_own() -> None:
    found = find_problems(
        snapshot(
            queue(name="a", counts={State.AVAILABLE: 1}, paused=True),
            queue(lane(60.0), lane(60.0, requires=("gpu",)), name="b"),
            scaler=HELD,
        )
    )
    assert [each.level for each in found] == ["bad", "bad", "warn", "warn"]
    assert len({each.key for each in found}) == 4


@pytest.mark.parametrize(
    ("found", "action"),
    [
        (snapshot(queue(lane(60.0))), ("run", "conveyor worker app:belt --queue q")),
        (snapshot(queue(lane(), paused=True)), ("resume_queue", "conveyor queues resume q")),
        (
            snapshot(queue(lane(60.0), name="a b"), workers=(worker(queues=("a b",), quiet=True),)),
            ("resume_worker", "conveyor workers resume w"),
        ),
        (
            snapshot(stopping=(job(cancel_requested_at=NOW - 300),)),
            ("force_cancel", "conveyor cancel 0123 --force"),
        ),
        (snapshot(queue(lane(60.0), name="a b", paused=True)),
            ("resume_queue", "conveyor queues resume 'a b'")),
    ],
)  # fmt: skip
def test_what_can_be_done_stands_beside_it(found: SystemFacts, action: tuple[str, str]) -> None:
    [problem] = find_problems(found)
    assert (problem.actions[0].kind, problem.actions[0].command) == action


def test_a_queue_that_is_behind_stays_so_until_half_of_that() -> None:
    waits = [queue(lane(each), **RATES) for each in (31.0, 20.0, 14.0)]
    keys: list[str] = []
    shown: list[list[str]] = []
    for each in waits:
        keys = [
            found.key for found in find_problems(snapshot(each, workers=(worker(),)), known=keys)
        ]
        shown.append(keys)
    assert shown == [["behind-q"], ["behind-q"], []]
    assert find_problems(snapshot(waits[1], workers=(worker(),))) == []


@pytest.mark.parametrize(
    ("usual", "known", "seconds"),
    [(None, False, 30.0), (2.0, False, 30.0), (4.0, False, 40.0), (4.0, True, 20.0)],
)
def test_how_long_a_job_may_wait_depends_on_what_is_usual(
    usual: float | None, known: bool, seconds: float
) -> None:
    assert patience(usual, known=known) == seconds


def shown_at(times: dict[float, list[SystemProblem]]) -> list[int]:
    """Return how many problems are shown at each time, of those found then."""
    sightings: dict[str, Sighting] = {}
    shown: list[int] = []
    for now, found in times.items():
        sightings = follow(sightings, found, now)
        shown.append(sum(each.is_shown(now) for each in sightings.values()))
    return shown


def test_a_queue_that_is_full_for_a_moment_is_not_shown() -> None:
    full = find_problems(TABLE["full with producers"][0])
    assert shown_at({0.0: full, 2.0: [], 3.0: full, 4.0: []}) == [0, 0, 0, 0]
    assert shown_at({0.0: full, 3.0: full, 6.0: full}) == [0, 0, 1]
    assert shown_at({0.0: full, 6.0: []}) == [0, 0]


def test_a_problem_that_comes_and_goes_is_shown_all_the_time() -> None:
    behind = find_problems(TABLE["falling behind"][0])
    times = {0.0: behind, 1.0: [], 8.0: behind, 9.0: [], 8.0 + SHOWN_ON: []}
    assert shown_at(times) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("a busy system", ("ok", "All is well")),
        ("falling behind", ("bad", "1 of 3 queues is in trouble")),
        ("paused with jobs", ("warn", "1 warning")),
        ("a job that does not stop", ("bad", "1 problem found")),
    ],
)
def test_the_verdict_says_how_the_whole_is(name: str, verdict: tuple[str, str]) -> None:
    given = give_verdict(find_problems(TABLE[name][0]), queues=3, workers=1, hosts=1)
    assert (given.level, given.claim) == verdict


def test_a_queue_with_a_warning_is_not_said_to_be_well() -> None:
    names = ("falling behind", "full with producers")
    both = [each for name in names for each in find_problems(TABLE[name][0])]
    subjects = {each.subject.name for each in both}
    given = give_verdict(both, queues=len(subjects) + 1, workers=1, hosts=1)
    assert given.note == "1 is well"


def test_a_system_without_workers_and_jobs_is_well_and_says_so() -> None:
    assert give_verdict([], queues=0, workers=0, hosts=0).note == (
        "no worker is running, and no job waits for one"
    )
