"""The scene in which the worker's disk is full: for it, files may grow no further."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..core.job import State
from .harness import Stage
from .probe_jobs import HOARD, Hoard
from .verdict import SOON, Check, Row, of_worker, row

# What may still be written, in bytes: some of the jobs fit.
ROOM = 600_000
# How long the worker has to live with the full disk.
FULL = 0.5


def play_disk(stage: Stage) -> list[Row]:
    """Fill it from a job, wait, make room, and count."""
    worker = stage.start("first")
    notes = stage.folder / "hoard"
    hoarder = stage.troupe.enqueue_hoarder(notes)
    stage.watch(hoarder, "coroutine", notes)
    stage.until(lambda: stage.have_begun([hoarder.id]))
    stage.fill_disk(worker, room=ROOM)
    filled = stage.cue([hoarder.id])
    said = notes.with_suffix(HOARD)
    stage.until(said.exists, 10 * SOON)
    stage.stay(FULL)
    stage.make_room(worker)
    hoard = msgspec.json.decode(said.read_bytes(), type=Hoard) if said.exists() else NOTHING
    ids = [hoarder.id, *hoard.accepted]
    stage.until(lambda: all(stage.is_final(job_id) for job_id in ids), 10 * SOON)
    states = [stage.record(job_id).state for job_id in ids]
    done = states.count(State.COMPLETED)
    clear = bool(hoard.accepted) and "jobs.db" in hoard.error
    return [
        row(
            "enqueueing",
            Check(
                "refused with an error that names the file",
                f"refused after {len(hoard.accepted)} jobs: {_brief(hoard.error, stage.folder)}",
                clear,
            ),
            facts=[f"the error: {hoard.error}"],
        ),
        row(
            "what was accepted",
            Check(
                "none lost, all completed",
                f"{done} of {len(ids)} completed",
                done == len(ids) and bool(hoard.accepted),
            ),
            facts=[f"{state}: {states.count(state)}" for state in sorted(set(states))],
        ),
        of_worker(
            worker.seen(),
            Check(
                "it goes on",
                "it went on" if worker.code is None else f"it ended with {worker.code}",
                worker.code is None,
            ),
            since=filled,
        ),
    ]


NOTHING = Hoard((), "the job that fills the disk never got to its end")


def _brief(error: str, folder: Path) -> str:
    error = error.replace(f"{folder}/", "")
    return error if len(error) <= 60 else error[:59] + "…"
