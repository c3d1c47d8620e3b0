"""Job ids: UUIDv7, growing, never twice."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from conveyor.core.ids import IdMaker


def test_an_id_is_a_uuid_of_version_seven_that_holds_its_time() -> None:
    made = uuid.UUID(IdMaker().make(1_700_000_000.123))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_grow_even_when_the_clock_goes_backwards() -> None:
    maker = IdMaker()
    made = [maker.make(100.0 - step / 1000) for step in range(5_000)]
    assert made == sorted(set(made))


def test_threads_never_get_the_same_id() -> None:
    maker = IdMaker()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: maker.make(1.0), range(5_000)))
    assert len(set(made)) == len(made)


def test_the_random_part_comes_from_the_system_so_no_id_can_be_guessed_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: b"\xab" * size)
    maker = IdMaker()
    assert {maker.make(1.0)[-17:] for _ in range(1000)} == {"abab-abababababab"}


FORK = r"""
import os
from conveyor.core.ids import IdMaker
maker = IdMaker()
maker.make(1.0)
pid = os.fork()
os.write(1, f"{maker.make(1.0)}\n".encode())
if pid:
    os.waitpid(pid, 0)
"""


def test_a_forked_process_makes_other_ids_than_its_parent() -> None:
    made = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert len(set(made)) == 2
