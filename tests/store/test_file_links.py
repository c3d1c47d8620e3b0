"""One SQLite file is one store, whatever its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from conveyor.core.job import NewJob
from conveyor.errors import UnavailableError
from conveyor.store.sqlite.store import SqliteStore


def test_a_file_with_two_names_is_refused_under_both(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "jobs.db").close()
    (tmp_path / "other.db").hardlink_to(tmp_path / "jobs.db")
    for name in ("jobs.db", "other.db"):
        with pytest.raises(UnavailableError, match=r"has 2 names \(hard links\)"):
            SqliteStore(tmp_path / name)
    (tmp_path / "other.db").unlink()
    SqliteStore(tmp_path / "jobs.db").close()


def test_a_symbolic_link_and_its_target_are_one_store(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")
    by_link = SqliteStore(tmp_path / "link.db")
    by_name = SqliteStore(tmp_path / "jobs.db")
    by_link.insert([NewJob(id="a", task="t")]).result()
    assert by_name.get("a").result().id == "a"
    assert by_link.url == by_name.url
    assert [path.name for path in tmp_path.glob("link.*")] == ["link.db"]
    by_link.close()
    by_name.close()
