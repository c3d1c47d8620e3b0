"""A move that is killed goes on where it was: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from calls import new, put
from filled_store import contents, fill
from moves import Killed, Stores, quiet

from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError
from conveyor.store.move.move import move
from conveyor.store.open import open_store
from conveyor.store.sql.transaction import Tx
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

T = TypeVar("T")


class Dying(SqliteStore):
    """A store whose process is killed at its second transaction that writes."""

    when = ""
    left = 2

    def transact(
        self, operation: Callable[[Tx], Coroutine[Any, Any, T]], *, reads: bool
    ) -> Pending[T]:
        if reads or not self.when:
            return super().transact(operation, reads=reads)
        self.left -= 1
        if self.left:
            return super().transact(operation, reads=reads)
        if self.when == "before":
            raise Killed
        if self.when == "within":

            async def die(tx: Tx) -> T:
                await operation(tx)
                raise Killed

            return super().transact(die, reads=reads)
        super().transact(operation, reads=reads).result()
        raise Killed


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("dies", ["source", "target"])
def test_a_move_that_is_killed_at_every_step_loses_and_doubles_nothing(
    tmp_path: Path, clock: FakeClock, when: str, first: int, dies: str
) -> None:
    how: dict[str, Any] = {"clock": clock, "durability": "normal", "draw": lambda: 0.5}
    plain = SqliteStore(tmp_path / "a.db", **how)
    fill(plain, clock)
    before = contents(plain)
    plain.close()
    kills = 0
    result = None
    while result is None:
        source = Dying(tmp_path / "a.db", for_move=True, **how)
        target = Dying(tmp_path / "b.db", for_move=True, **how)
        mortal = source if dies == "source" else target
        mortal.when, mortal.left = when, first if not kills else 2
        try:
            result = move(source, target, quiet, page_rows=10)
            ended = result is None
        except Killed:
            kills += 1
            ended = False
        finally:
            source.close()
            target.close()
        assert kills < 100
        if ended:  # the kill came after the last step
            break
    target = SqliteStore(tmp_path / "b.db", **how)
    assert contents(target) == before
    target.close()
    assert kills >= (1 if dies == "source" else 8)


def test_at_no_moment_of_a_move_are_both_stores_open(tmp_path: Path, clock: FakeClock) -> None:
    how: dict[str, Any] = {"clock": clock, "durability": "normal", "for_move": True}
    source, target = Dying(tmp_path / "a.db", **how), SqliteStore(tmp_path / "b.db", **how)
    put(source, new())
    source.when = "after"
    with pytest.raises(Killed):  # the second write closes the source
        move(source, target, quiet)
    with pytest.raises(UnavailableError, match="were moved to"):
        open_store(source.url)
    with pytest.raises(UnavailableError, match="are being moved into"):
        open_store(target.url)
    assert move(source, target, quiet) is not None
    open_store(target.url).close()
    source.close()
    target.close()


MOVES = """
import sys
from conveyor.errors import UnavailableError
from conveyor.store.move.move import move
from conveyor.store.open import open_store
from conveyor.store.open import open_for_move

def report(part, count):
    print(part, count, flush=True)

move(open_for_move(sys.argv[1]), open_for_move(sys.argv[2]), report, page_rows=40)
print("end", flush=True)
"""


def test_a_move_survives_sigkill(stores: Stores) -> None:
    source, target = stores.open("sqlite"), stores.open("postgres")
    fill(source, stores.clock)
    put(source, *(new(queue="many", args=b'"%d"' % number) for number in range(200)))
    before = contents(source)
    finished = False
    for lines in (3, 2, 5, 1000):
        command = [sys.executable, "-c", MOVES, source.url, target.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _, line in zip(range(lines), process.stdout, strict=False):
            finished = line == "end\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert finished
    assert contents(target) == before
