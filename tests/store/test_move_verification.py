"""A copy that differs is found, and damaged rows are moved as they are or named."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from calls import claim, new, put, settle
from damageable import File
from filled_store import fill, without_seq
from moves import Stores, moved, quiet

from conveyor.core.job import DETAILS
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import UnavailableError
from conveyor.store.messages import Filter
from conveyor.store.move.move import move
from conveyor.store.move.parts import PARTS
from conveyor.store.move.verification import read_chunks, summarize
from conveyor.store.open import open_store
from conveyor.store.sql.store import SqlStore
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock


def test_a_copy_that_loses_a_job_is_found_and_the_source_stays_open(stores: Stores) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    ids = put(source, *(new() for _ in range(20)))

    def lose(part: str, count: int) -> None:
        if (part, count) == ("jobs", 14):
            db = apsw.Connection(str(stores.folder / "2.db"))
            db.execute("DELETE FROM job WHERE id = ?", (ids[9],))
            db.close()

    result = move(source, target, lose, page_rows=7)
    assert result is not None
    assert any(
        f"20 in the source and 19 in the target; the first that differs is number 10, "
        f"{ids[9]}" in each
        for each in result.differences
    )
    assert any(
        "says that it has 20 available jobs, and there are 19" in each
        for each in result.differences
    )
    open_store(source.url).close()
    with pytest.raises(UnavailableError, match="are being moved into"):
        open_store(target.url)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE job SET priority = 1 WHERE id = '{}'",
        "UPDATE job SET args = x'5b325d' WHERE id = '{}'",
        "UPDATE job SET run_at = run_at + 0.001 WHERE id = '{}'",
        "UPDATE job SET lease = 5 WHERE id = '{}'",
        "UPDATE job SET seq = 100 WHERE id = '{}'",
        "INSERT INTO output SELECT 1, seq, 1, 0, 'log', 0.0, x'61' FROM job WHERE id = '{}'",
        "UPDATE queue SET available = 19",
    ],
)
def test_a_copy_that_differs_in_any_way_is_found(stores: Stores, damage: str) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    ids = put(source, *(new(args=b"[1]") for _ in range(20)))

    def change(part: str, _count: int) -> None:
        if part == "checking jobs":
            db = apsw.Connection(str(stores.folder / "2.db"))
            db.execute(damage.format(ids[9]))
            db.close()

    result = move(source, target, change)
    assert result is not None
    assert len(result.differences) == 1


def test_a_content_that_did_not_arrive_is_found(stores: Stores, clock: FakeClock) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    fill(source, clock)

    def lose(part: str, _count: int) -> None:
        if part == "checking jobs":
            for path in (stores.folder / "2.db.files").rglob("*"):
                if len(path.name) == 64:
                    path.unlink()

    result = move(source, target, lose)
    assert result is not None
    assert "is not complete" in " ".join(result.differences)


def test_damaged_jobs_are_as_damaged_in_the_target(tmp_path: Path, stores: Stores) -> None:
    file = File(tmp_path / "damaged.db", stores.clock, served=False)
    ids = put(file.store, *(new() for _ in range(5)))
    file.plant(
        {
            ids[1]: "args = x'5b335d'",
            ids[2]: "task = CAST(x'41ff42' AS TEXT)",
            ids[3]: "state = 'nonsense'",
        }
    )
    assert isinstance(file.store, SqliteStore)
    target = stores.open("postgres")
    before = file.store.find(Filter(), limit=9, include=DETAILS).result()
    assert moved(file.store, target).left == []
    after = target.find(Filter(), limit=9, include=DETAILS).result()
    assert [job.damage for job in after] == [job.damage for job in before]
    assert without_seq([job.id for job in after]) == [job.id for job in before]
    assert [job.id for job in claim(target, limit=9)] == [ids[0], ids[4]]
    file.store.close()


def test_a_row_that_no_other_store_can_hold_is_left_and_named(
    tmp_path: Path, stores: Stores
) -> None:
    file = File(tmp_path / "damaged.db", stores.clock, served=False)
    assert isinstance(file.store, SqliteStore)
    ids = put(file.store, *(new() for _ in range(5)))
    [job] = claim(file.store)
    settle(file.store, job, Succeeded())
    file.plant({ids[1]: "lane = 99", ids[0]: "lane = 98"})
    target = stores.open("sqlite")
    result = moved(file.store, target)
    assert [each.split(":")[0] for each in result.left] == [f"job {ids[0]}", f"job {ids[1]}"]
    assert "its lane is unknown" in result.left[0]
    assert [each.id for each in target.find(Filter(), limit=9).result()] == ids[:1:-1]
    file.store.close()


def test_jobs_of_a_damaged_lane_keep_the_labels_that_they_require(
    tmp_path: Path, stores: Stores
) -> None:
    file = File(tmp_path / "damaged.db", stores.clock, served=False)
    assert isinstance(file.store, SqliteStore)
    [needing] = put(file.store, new(requires=("gpu",)))
    put(file.store, new())
    file.run("UPDATE lane SET requires = 'damaged' WHERE requires <> '[]'")
    target = stores.open("postgres")
    assert moved(file.store, target).left == []
    assert needing not in [job.id for job in claim(target, limit=9)]
    assert [job.id for job in claim(target, labels=["gpu"], limit=9)] == [needing]
    file.store.close()


def test_a_content_that_the_source_has_lost_is_named(stores: Stores, clock: FakeClock) -> None:
    source, target = stores.open("sqlite"), stores.open("sqlite")
    fill(source, clock)
    for path in (stores.folder / "1.db.files").rglob("*"):
        if len(path.name) == 64:
            path.unlink()
    result = moved(source, target)
    assert "the content" in result.left[0]


def test_a_page_has_a_bound_of_rows_and_of_bytes(way: tuple[SqlStore, SqlStore]) -> None:
    source, target = way
    put(source, *(new(args=b'"' + b"x" * 900_000 + b'"') for _ in range(9)))
    put(source, *(new(queue="small") for _ in range(30)))
    jobs = next(part for part in PARTS if part.name == "jobs")
    pages = [chunk.rows for chunk in read_chunks(source, jobs, jobs.start, 10)]
    assert [len(rows) for rows in pages] == [4, 4, 10, 10, 10, 1]
    moved(source, target)
    assert summarize(target, quiet).counts["jobs"] == 39
