"""Fuzzing guided by coverage, with atheris (libFuzzer). It ends the process that calls it."""

from __future__ import annotations

import io
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any, NoReturn, TypeVar

import atheris
from harness import Target, Trial
from mutation import mutate

# Longer inputs are slow, and find little that --plain does not. Seeds may need more.
LONGEST = 1 << 10

T = TypeVar("T")


def instrumented(load: Callable[[], T]) -> T:
    """Call a function that imports Conveyor's modules, which are instrumented then."""
    names = io.StringIO()  # of the modules, one a line
    with redirect_stderr(names), atheris.instrument_imports(include=["conveyor"]):
        return load()


def fuzz_guided(target: Target, inputs: int, seconds: int, seed: int) -> NoReturn:
    """Try so many inputs, or for so long, and exit: with 0 unless there was a fault.

    Half of the inputs are made by libFuzzer from what has reached new code, half as in mutation.py.
    """
    folder = tempfile.mkdtemp(prefix="fuzz-")
    for number, data in enumerate(target.seeds):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(data)

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            made: Any = atheris.Mutate(data, longest)
            return bytes(made)
        return mutate(draw, [data, *target.seeds])[:longest]

    options = {
        "runs": inputs,
        "max_total_time": seconds,
        "max_len": max(LONGEST, *(2 * len(seed) for seed in target.seeds)),
        "timeout": 30,
        "rss_limit_mb": 2048,
        "seed": seed,
        "print_final_stats": 1,
        "artifact_prefix": os.path.join(folder, "fault-"),
    }
    arguments = ["fuzz", *(f"-{name}={value}" for name, value in options.items()), folder]
    atheris.Setup(arguments, Trial(target), custom_mutator=mutated)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")
