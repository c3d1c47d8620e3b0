"""Hot statements of PostgreSQL read no more rows than they need, whatever the planner knows.

The rows that a statement reads are counted by the server, also within functions. Plans are generic,
and the statistics are first those of empty tables, then those of full ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.floors import HIGHEST, LOWEST
from conveyor.store.postgres.vacuum import vacuum
from postgres_schema import Schemas

BATCH = 100
LANES = 3
# Rows of all tables for each job of a batch, with some for what is done once.
ENOUGH = 10 * BATCH

FILL = """
INSERT INTO queue (name) VALUES ('q');
INSERT INTO lane (queue, requires)
SELECT 'q', number::TEXT FROM generate_series(1, {lanes}) AS number;
INSERT INTO body (seq, priority, enqueued_at, checksum, id, task, options, args)
SELECT number, 0, 0, 0, 'id-' || number, 't', '{{}}', '{{}}' FROM generate_series(1, 3 * {rows})
    AS number;
INSERT INTO ready (lane, rank, run_at, seq, size, id)
SELECT (SELECT min(id) FROM lane) + seq % {lanes}, -1, seq, seq, 4, id FROM body
WHERE seq <= {rows};
INSERT INTO running (lane, run_at, seq, attempt, lease, crashes, lease_until, started_at, id,
    frees_key, worker)
SELECT (SELECT min(id) FROM lane), 0, seq, 1, 1, 0, 1e12, 0, id, FALSE, 'w' || seq FROM body
WHERE seq > {rows} AND seq <= {rows} + {rows} / 8;
INSERT INTO later (lane, rank, run_at, seq, size, id, state)
SELECT (SELECT min(id) FROM lane), -1, 1e12 + seq, seq, 4, id, 'scheduled' FROM body
WHERE seq > {rows} + {rows} / 8 AND seq <= 2 * {rows};
INSERT INTO final (lane, run_at, seq, attempt, lease, crashes, final_at, state)
SELECT (SELECT min(id) FROM lane), 0, seq, 1, 1, 0, seq, 'completed' FROM body
WHERE seq > 2 * {rows};
INSERT INTO attempt_error (job, attempt, at, became, error, fingerprint)
SELECT seq, 1, seq, 'retryable', '{{}}', CASE WHEN seq % 2 = 0 THEN 'alike' ELSE 'other' END
FROM body WHERE seq > 2 * {rows}
"""
EMPTIED = b"DELETE FROM body; DELETE FROM ready; DELETE FROM running; DELETE FROM later; "
EMPTIED += b"DELETE FROM final; DELETE FROM lane; DELETE FROM queue; DELETE FROM attempt_error"
COUNTED = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::BIGINT
FROM pg_stat_xact_user_tables WHERE schemaname = current_schema()
"""


class Full:
    """A schema whose tables are full, and a session in which every plan is a generic one."""

    def __init__(self, url: str, rows: int) -> None:
        self.rows = rows
        self.connection = Connection(parse_address(url))
        self.connection.script(b"SET plan_cache_mode = force_generic_plan")
        # A table that has become empty looks smaller to the planner than one that always was.
        self.connection.script(FILL.format(rows=300, lanes=LANES).encode())
        self.connection.script(EMPTIED)
        self.analyze()
        self.connection.script(FILL.format(rows=rows, lanes=LANES).encode())
        [(self.lane,)] = self.connection.session.execute("SELECT min(id) FROM lane").fetchall()

    def analyze(self) -> None:
        """Have the planner know the tables as they are now."""
        tables = b"body, ready, later, running, final, lane, queue, attempt_error"
        self.connection.script(b"ANALYZE " + tables)

    def count(self, name: str, given: Mapping[str, Any]) -> tuple[int, int]:
        """Return how many rows a statement reads, and how many it answers."""
        self.connection.begin(reads=False)
        before = self.read()
        answered = len(self.connection.query(name, given))
        read = self.read() - before
        self.connection.roll_back()
        return read, answered

    def read(self) -> int:
        """Return how many rows of tables this session has read."""
        [(read,)] = self.connection.session.execute(COUNTED.encode()).fetchall()
        return int(read)

    def exchange(self, reported: int = BATCH, limit: int = BATCH, **changed: Any) -> dict[str, Any]:
        """Return the parameters of an exchange that settles and claims a batch."""
        lanes = [self.lane + number for number in range(LANES)]
        return {
            "mark": "m",
            "worker": "w",
            "at": None,
            "id_all": [f"id-{self.rows + 1 + 7 * number}" for number in range(reported)],
            "lease_all": [1] * reported,
            "result_all": [None] * reported,
            "checksum_all": [None] * reported,
            "queue_all": ["q"],
            "known_all": [LANES],
            "limit_all": [limit],
            "first_all": [1],
            "last_all": [LANES],
            "lane_all": lanes,
            "rank_all": [LOWEST] * LANES,
            "run_at_all": [-1.0] * LANES,
            "seq_all": [0] * LANES,
            "until_rank_all": [HIGHEST] * LANES,
            "limit": limit,
            "size": 1 << 20,
            "lasting": 60.0,
            "starts": True,
        } | changed


@pytest.fixture(scope="module", params=[40_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def full(request: pytest.FixtureRequest, schemas: Schemas) -> Iterator[Full]:
    with schemas.one() as url:
        made = Full(url, request.param)
        yield made
        made.connection.close()


def hot(full: Full) -> dict[str, tuple[dict[str, Any], int]]:
    """Return the parameters of hot statements, and how many rows each reads at most."""
    seq, job_id, running = 77, "id-77", f"id-{full.rows + 5}"
    kept = {"now": 1.0, "limit": BATCH}
    return {
        "exchange_plain": (full.exchange(), ENOUGH),
        "heads": ({"lane": full.lane, "limit": BATCH}, ENOUGH),
        "next_of_lane": ({"lane": full.lane}, 10),
        "lease": (
            {"seq": seq, "lease": 0, "worker": "w", "lease_until": 1.0, "started_at": 1.0},
            10,
        ),
        "due": (kept, 10),
        "next_due": ({}, 10),
        "expired": (kept, 10),
        "old": ({"state": "completed", "before": 1e12, "limit": BATCH}, ENOUGH),
        "get": ({"id": job_id}, 20),
        "is_there": ({"id": job_id}, 5),
        "key_holder": ({"unique_key": "k"}, 5),
        "held": ({"id": running, "lease": 1}, 5),
        "extend": ({"lease_until": 1.0, "now": 1.0, "id": running, "lease": 1}, 5),
        "lock_job": ({"keys": [running, job_id]}, 5),
        **lists(),
        "scan": ({"after": 5}, ENOUGH),
        "delete_job": ({"seq": 3 * full.rows, "state": "completed"}, 40),
        "request_cancel": (
            {"now": 1.0, "reason": "r", "forced": False, "seq": full.rows + 5, "lease": 1},
            10,
        ),
    }


def lists() -> dict[str, tuple[dict[str, Any], int]]:
    """Return the same for the statements of lists, counts and groups of failures."""
    listed = dict.fromkeys(
        (
            "queue",
            "task",
            "states",
            "enqueued_before",
            "enqueued_after",
            "worker",
            "sought",
            "error",
        )
    )
    everywhere = {"before": 1 << 40, "after": -1}
    some = json.dumps([seq * 7 for seq in range(1, BATCH)])
    details = dict.fromkeys(("with_args", "with_options", "with_result", "with_stopping"), False)
    return {
        "find_sizes": ({**listed, **everywhere, "rows": 10 * BATCH, "limit": BATCH}, ENOUGH),
        "find_sizes_oldest": ({**listed, **everywhere, "rows": 10 * BATCH, "limit": BATCH}, ENOUGH),
        # What matches nothing looks at :rows jobs, and at no more.
        "count_matching": ({**listed, **everywhere, "task": "u", "rows": BATCH}, ENOUGH),
        "find_sizes_among": ({**listed, "numbers": some}, ENOUGH),
        "count_among": ({**listed, "numbers": some}, ENOUGH),
        "looked_at": ({**everywhere, "rows": BATCH}, ENOUGH),
        "looked_at_oldest": ({**everywhere, "rows": BATCH}, ENOUGH),
        "some_available": ({"limit": BATCH}, ENOUGH),
        "some_later": ({"limit": BATCH}, ENOUGH),
        "some_running": ({"limit": BATCH}, ENOUGH),
        "some_final": ({"state": "completed", "limit": BATCH}, ENOUGH),
        "failed_alike": ({**everywhere, "error": "alike", "limit": BATCH}, ENOUGH),
        "failed_alike_oldest": ({**everywhere, "error": "alike", "limit": BATCH}, ENOUGH),
        "newest_failures": ({"limit": BATCH}, ENOUGH),
        "find": ({**details, "numbers": some}, ENOUGH),
        "ids_of": ({"numbers": some}, ENOUGH),
    }


def test_every_hot_statement_reads_few_rows_of_full_tables(full: Full) -> None:
    for _ in range(2):
        read = {name: full.count(name, given)[0] for name, (given, _) in hot(full).items()}
        most = {name: most for name, (_, most) in hot(full).items()}
        assert {name: count for name, count in read.items() if count > most[name]} == {}
        full.analyze()


def test_an_exchange_settles_and_claims_what_it_is_asked_for(full: Full) -> None:
    # One row for the time, and one for each job.
    assert full.count("exchange_plain", full.exchange())[1] == 1 + BATCH
    # Here two reports are of nobody's lease.
    lost = full.exchange(2, lease_all=[9, 9])
    assert full.count("exchange_plain", lost)[1] == 1 + 2 + BATCH


def test_a_statement_without_an_index_is_seen_to_read_the_table(full: Full) -> None:
    before = full.read()
    full.connection.session.execute("SELECT 1 FROM ready WHERE id = 'id-1'")
    assert full.read() - before >= full.rows


def test_a_claim_from_a_floor_does_not_walk_what_was_deleted_before_it(full: Full) -> None:
    """What an index entry of a deleted row costs shows in the pages that a claim looks at."""
    connection = full.connection
    floors = {"rank_all": [-1] * LANES, "run_at_all": [full.rows * 0.75] * LANES}
    connection.begin(reads=False)
    connection.script(f"DELETE FROM ready WHERE seq <= {full.rows // 2}".encode())
    whole = buffers(connection, full.exchange(0, 1))
    part = buffers(connection, full.exchange(0, 1, **floors))
    connection.roll_back()
    assert part < whole / 10, (part, whole)


def buffers(connection: Connection, given: Mapping[str, Any]) -> int:
    """Return how many pages of `ready` and its index one claim looks at."""

    def looked_at() -> int:
        rows = connection.session.execute(
            "SELECT (pg_stat_get_xact_blocks_fetched('ready'::REGCLASS)"
            " + pg_stat_get_xact_blocks_fetched('ready_pkey'::REGCLASS))::BIGINT"
        ).fetchall()
        return int(rows[0][0])

    before = looked_at()
    connection.query("exchange_plain", {**given, "mark": f"m{before}"})
    return looked_at() - before


def test_upkeep_vacuums_what_many_rows_were_deleted_from(schemas: Schemas) -> None:
    with schemas.one() as url:
        connection = Connection(parse_address(url))
        connection.script(FILL.format(rows=6000, lanes=LANES).encode())
        connection.script(b"DELETE FROM ready")
        connection.session.execute("SELECT pg_stat_force_next_flush()")
        vacuum(connection)
        [(left,)] = connection.session.execute(
            "SELECT pg_stat_get_vacuum_count('ready'::REGCLASS)"
        ).fetchall()
        assert left == 1
        assert connection.query("tables_to_vacuum") == []
        connection.close()
