"""The statements of the SQL stores: used, declared truly, and the hot ones walk their index."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import apsw.ext
import pytest

import conveyor.store as store_package
from conveyor.store.sql.dialect import POSTGRES
from conveyor.store.sql.statements import READ_ONLY, load_statements, split_statements
from conveyor.store.sqlite.connection import STATEMENTS, Database


def test_every_statement_is_used() -> None:
    sources = [each.read_text() for each in Path(store_package.__path__[0]).rglob("*.py")]
    text = "\n".join(sources)
    assert [name for name in STATEMENTS if f'"{name}"' not in text] == []


def test_statements_that_are_declared_to_read_are_those_that_change_nothing(
    tmp_path: Path,
) -> None:
    db = Database(str(tmp_path / "jobs.db"), "normal")
    reading = {
        name
        for name, text in STATEMENTS.items()
        if apsw.ext.query_info(db._connection, text).is_readonly
    }
    db.close()
    assert reading == READ_ONLY


def test_postgresql_replaces_only_what_it_needs_otherwise_and_uses_its_own() -> None:
    own, _ = split_statements((files("conveyor.store.postgres") / "statements.sql").read_text())
    shared, texts = load_statements(POSTGRES), load_statements(POSTGRES, own)
    replaced = own.keys() & shared.keys()
    alike = [name for name in replaced if bare(texts[name]) == bare(shared[name])]
    assert alike == []
    package = Path(store_package.__path__[0]) / "postgres"
    sources = "\n".join(each.read_text() for each in package.glob("*.py"))
    # Those that lock are named by what they lock.
    added = {name for name in own if name.removesuffix("_all") not in shared}
    unused = [name for name in added if f'"{name}"' not in sources]
    assert [name for name in unused if not name.startswith("lock_")] == []


def bare(text: str) -> str:
    """Return a statement without its comments."""
    return re.sub(r"--.*\n", "", text).strip()


HOT = {
    "stocked_queues": "SEARCH queue USING PRIMARY KEY",
    "heads": "job_available",
    "succeed": "sqlite_autoindex_job",
    "lease": "INTEGER PRIMARY KEY",
    "extend": "sqlite_autoindex_job",
    "due": "job_due",
    "next_due": "job_due",
    "expired": "job_expiring",
    "lapsed": "job_running",
    "of_worker": "job_running",
    "count_held": "job_running",
    "extend_worker": "job_running",
    "is_held_back": "PRIMARY KEY",
    "is_there": "sqlite_autoindex_job",
    "old": "job_final",
    "key_holder": "job_unique",
    "offers": "offer_waiting",
    "any_offer": "offer_waiting",
    "output": "output_job",
    "token": "PRIMARY KEY",
    "leader": "sqlite_autoindex_leader",
    "count_lane": "job_available",
    "oldest_in_lane": "job_available",
    "oldest_by_priority": "job_available",
    "delete_old_actions": "audit_at",
    "refers": "file_digest",
    "offer_of": "PRIMARY KEY",
    "offered": "PRIMARY KEY",
    "delete_offered_jobs": "offered_job_offer",
    "delete_offered_files": "offered_file_offer",
    "move": "INTEGER PRIMARY KEY",
    "renew": "INTEGER PRIMARY KEY",
    "make_available": "INTEGER PRIMARY KEY",
    "find_sizes": "INTEGER PRIMARY KEY",
    "find_sizes_oldest": "INTEGER PRIMARY KEY",
    "looked_at": "INTEGER PRIMARY KEY",
    "looked_at_oldest": "INTEGER PRIMARY KEY",
    "newest_failures": "COVERING INDEX attempt_error_newest",
    "failed_alike": "COVERING INDEX attempt_error_alike",
    "failed_alike_oldest": "COVERING INDEX attempt_error_alike",
    "some_available": "job_available",
    "some_later": "job_due",
    "some_running": "job_running",
    "some_final": "job_final",
    "output_sizes_before": "output_job",
}


@pytest.mark.parametrize(("name", "index"), HOT.items())
def test_a_hot_statement_walks_its_index_and_sorts_nothing(
    tmp_path: Path, name: str, index: str
) -> None:
    db = Database(str(tmp_path / "jobs.db"), "normal")
    text = STATEMENTS[name]
    plan = [row[3] for row in db._connection.execute(f"EXPLAIN QUERY PLAN {text}", _nulls(text))]
    db.close()
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN job\n") for step in plan), plan


def _nulls(text: str) -> dict[str, None]:
    return dict.fromkeys(re.findall(r":(\w+)", text))
