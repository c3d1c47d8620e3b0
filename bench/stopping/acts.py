"""The five scenes: each stops a worker or a job, and returns what was observed as plain data."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from stage import SceneError, Stage, alive, wait_until

Facts = dict[str, Any]
UP = 30.0
QUIET = 1.0
SETTLED = 3.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait for each event, in seconds."""

    stop: float  # from SIGTERM to SIGKILL
    again: float  # until a job has to run again
    watch: float  # after a cancel


def sigterm(stage: Stage, kind: str, limits: Limits) -> Facts:
    """Send SIGTERM to the main process during a long job, and SIGKILL at the time limit."""
    worker, job = _start_job(stage, f"long_{kind}")
    told = time.time()
    worker.terminate()
    killed = not wait_until(lambda: worker.poll() is not None, limits.stop)
    if killed:
        worker.kill()
    worker.wait()
    out = time.time()
    left = len(stage.of_worker(0))
    stage.end_worker(0)  # when a container's first process exits, all others are killed
    said = stage.client.ask("state", job)
    ended = bool(stage.events("end"))
    beat = max(stage.beats().values())
    stage.worker()
    again = _wait_for_rerun(stage, limits)
    return {
        "exit_s": round(out - told, 1),
        "exit_code": worker.returncode,
        "killed": killed,
        "left": left,
        "ended": ended,
        "beat_s": round(max(0.0, beat - told), 1),
        "again_s": None if again is None else round(again - out, 1),
        "said": said,
        "said_last": stage.client.ask("state", job),
    }


def killed(stage: Stage, kind: str, limits: Limits) -> Facts:
    """Send SIGKILL to the main process during a job that has a child process."""
    worker, job = _start_job(stage, f"parent_{kind}")
    [(pid, _)] = stage.events("start")
    [child] = stage.sleepers()
    at = time.time()
    worker.kill()
    worker.wait()
    stage.worker()
    time.sleep(SETTLED)
    left = {"job_left": alive(pid), "child_left": alive(child)}
    again = _wait_for_rerun(stage, limits)
    last = stage.beats()[f"job-{pid}"]
    return {
        **left,
        "again_s": None if again is None else round(again - at, 1),
        "at_once": again is not None and last > again,
        "orphan_beat_s": round(max(0.0, last - at), 1),
        "orphan_ended": any(who == pid for who, _ in stage.events("end")),
        "said": stage.client.ask("state", job),
    }


def cancel(stage: Stage, task: str, limits: Limits) -> Facts:
    """Cancel a running job, and watch its heartbeats and its reported state."""
    job = stage.enqueue(task)
    worker = stage.worker()
    tree = task.startswith("tree_")
    hearts = {"shell", "child", "grandchild"} if tree else {"job"}
    if not wait_until(lambda: {name.partition("-")[0] for name in stage.beats()} >= hearts, UP):
        raise SceneError(f"{task} did not start; see the logs kept by --keep")
    time.sleep(QUIET)
    answer: Facts = {}
    teller = stage.another_client()
    at = time.time()
    asking = Thread(target=_ask_to_cancel, args=(teller.ask, job, answer), daemon=True)
    asking.start()
    said: list[tuple[float, str]] = []
    while time.time() < at + limits.watch:
        state = str(stage.client.ask("state", job))
        if not said or said[-1][1] != state:
            said.append((round(time.time() - at, 2), state))
        time.sleep(0.05)
    seen = time.time()
    beats = {name.partition("-")[0]: last for name, last in stage.beats().items()}
    gone = stage.client.hello["gone"]
    return {
        "stopped_s": {
            name: None if seen - last < QUIET else max(0.0, round(last - at, 2))
            for name, last in sorted(beats.items())
        },
        "said": said,
        "said_gone_s": next((when for when, state in said if state in gone), None),
        "answer": answer.get("answer"),
        "answer_s": answer.get("answer_s"),
        "worker_alive": worker.poll() is None,
        "runs": len([name for name in stage.beats() if name.startswith(("job", "shell"))]),
    }


def _start_job(stage: Stage, task: str) -> tuple[subprocess.Popen[bytes], str]:
    job = stage.enqueue(task)
    worker = stage.worker()
    if not wait_until(lambda: stage.events("start") and stage.beats(), UP):
        raise SceneError(f"{task} did not start; see the logs kept by --keep")
    time.sleep(QUIET)
    return worker, job


def _wait_for_rerun(stage: Stage, limits: Limits) -> float | None:
    """Return when the job started again, or None."""
    wait_until(lambda: len(stage.events("start")) > 1, limits.again)
    starts = stage.events("start")
    return starts[1][1] if len(starts) > 1 else None


def _ask_to_cancel(ask: Callable[..., Any], job: str, answer: Facts) -> None:
    at = time.time()
    try:
        answer["answer"] = ask("cancel", job)
    except (SceneError, OSError, ValueError) as error:
        answer["answer"] = str(error)  # or the client was closed while the peer waited
    answer["answer_s"] = round(time.time() - at, 2)


SCENES: dict[str, Callable[[Stage, str, Limits], Facts]] = {
    "sigterm": sigterm,
    "killed": killed,
    "async": lambda stage, kind, limits: cancel(stage, f"beat_{kind}", limits),
    "blocking": lambda stage, kind, limits: cancel(stage, f"beat_{kind}", limits),
    "tree": lambda stage, kind, limits: cancel(stage, f"tree_{kind}", limits),
}
