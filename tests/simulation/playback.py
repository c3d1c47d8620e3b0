"""Plays seeds, many at once in other processes if need be, and prints the events of one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from faults import Fault
from promises import broken_promises
from world import World, run

HERE = Path(__file__).parent
TAIL = 60
PROCESSES = 2
# How a seed of the fleet is asked for.
FLEET = "fleet"


Kind = Callable[..., World]


def play(seed: int, fault: Fault | None = None) -> World:
    """Play one seed, with a planted fault or without."""
    if fault is None:
        return run(seed, World)
    return run(seed, World, parts=fault.worker_parts(), store=fault.store)


def story(world: World, last: int | None = None) -> str:
    """Tell the history of a world, or the end of it."""
    lines = [f"{time:9.3f}  " + " ".join(map(str, facts)) for time, *facts in world.trace]
    return "\n".join(lines if last is None else lines[-last:])


def failure(seed: int, kind: Kind = World) -> str | None:
    """Play one seed; return what went wrong with the end of its story, or None."""
    world = run(seed, kind)
    wrong = broken_promises(world)
    if not wrong:
        return None
    first = next(n for n, line in enumerate(world.trace) if line[1] == "BROKEN")
    del world.trace[first + 5 :]
    which = f"{seed}" if kind is World else f"{seed} {FLEET}"
    return "\n".join(
        (
            f"seed {seed}. Alone: python tests/simulation {which} (with src on the PYTHONPATH)",
            *wrong[:10],
            story(world, TAIL),
        )
    )


def failures(seeds: Iterable[int], kind: Kind = World) -> list[str]:
    """Play seeds, one after the other; return what went wrong."""
    gc.freeze()  # what was imported needs no looking at after each seed
    return [wrong for seed in seeds if (wrong := failure(seed, kind)) is not None]


def failures_of_many(seeds: range, kind: Kind = World) -> list[str]:
    """Play seeds in several processes at once."""
    shares = [seeds[n :: PROCESSES * 8] for n in range(PROCESSES * 8)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return [
            wrong for found in pool.map(partial(failures, kind=kind), shares) for wrong in found
        ]


def kept_seeds() -> list[int]:
    """Return the seeds that once failed."""
    lines = (HERE / "seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]
