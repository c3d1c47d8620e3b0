"""The schema of the PostgreSQL store: addresses, migrations, texts and the plans of statements."""

from __future__ import annotations

import threading
from contextlib import suppress

import psycopg
import pytest

from conveyor.core.address_secrets import SECRET_OPTIONS
from conveyor.core.history import BUCKETS, FIRST_END, bucket
from conveyor.errors import StoreVersionError, UsageError
from conveyor.store.open import open_store
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.migrate import schemas as schema_files
from conveyor.store.postgres.nul_escapes import escape, unescape
from conveyor.store.postgres.scratch_schemas import ScratchSchemas
from conveyor.store.postgres.statements import STATEMENTS
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.sql.statements import READ_ONLY
from postgres_schema import Admin, Schemas

# -- the schema ------------------------------------------------------------------------------------


def test_tables_are_made_by_a_migration_and_never_by_a_store(schemas: Schemas) -> None:
    url = f"{schemas.server}&schema=not_there"
    with pytest.raises(StoreVersionError, match="conveyor migrate"):
        PostgresStore(url)
    migration = Migration(parse_address(url))
    newest = len(schema_files())
    assert migration.versions() == (0, newest)
    assert "CREATE TABLE body" in migration.script()
    results: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: results.append(migration.run())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(0, newest), *[(newest, newest)] * 2]
    assert migration.script() == ""
    PostgresStore(url).close()
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute("UPDATE not_there.schema_version SET version = 999, oldest_code = 999")
        with pytest.raises(StoreVersionError, match="newer Conveyor"):
            PostgresStore(url)
        session.execute("DROP SCHEMA not_there CASCADE")


@pytest.mark.parametrize("wrong", ["schema=A", "schema=", "connections=0", "connections=x"])
def test_an_option_of_the_address_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong.partition("=")[0]):
        open_store(f"postgresql://me@127.0.0.1:1/db?{wrong}")


def test_the_parts_of_an_address() -> None:
    address = parse_address(
        "postgresql://me:p%40ss@[::1]:5/db?sslmode=require&schema=s&host=%2Ftmp"
    )
    assert address.url == "postgresql://me@[::1]:5/db?sslmode=require&schema=s&host=%2Ftmp"
    assert (address.secrets, address.schema) == ({"password": "p@ss"}, "s")
    assert address.server == "postgresql://me@[::1]:5/db?sslmode=require&host=%2Ftmp"
    assert address.shown == "postgresql://me@[::1]:5/db?host=%2Ftmp&schema=s"


def test_a_password_in_the_query_is_shown_no_more_than_another() -> None:
    address = parse_address("postgresql://me@h/db?password=p%26ss&schema=s&sslmode=require")
    assert address.secrets == {"password": "p&ss"}
    assert address.url == "postgresql://me@h/db?schema=s&sslmode=require"
    assert address.server == "postgresql://me@h/db?sslmode=require"


def test_every_secret_of_an_address_is_left_out_of_what_is_shown_and_passed_on_beside_it() -> None:
    given = "&".join(f"{option}=secret-{option}" for option in SECRET_OPTIONS)
    address = parse_address(f"postgresql://me@h/db?sslmode=require&{given}&sslkey=%2Fkey&schema=s")
    assert address.url == "postgresql://me@h/db?sslmode=require&sslkey=%2Fkey&schema=s"
    assert "secret-" not in address.url + address.server + address.shown + repr(address)
    assert address.secrets == {option: f"secret-{option}" for option in SECRET_OPTIONS}
    again = parse_address(address.url, address.secret)
    assert again == address


def test_the_secrets_of_an_address_reach_libpq_and_other_processes(schemas: Schemas) -> None:
    with ScratchSchemas(f"{schemas.server}&sslpassword=s%20s&password=p") as scratch:
        made = scratch.make()
        assert "password=p" not in made
        store = PostgresStore(made, password="p")
        store.close()
        assert "sslpassword" not in store.url
        connection = Connection(parse_address(store.url, store.secret))
        given = {each.keyword: each.val for each in connection.session.pgconn.info}
        connection.close()
    assert (given[b"sslpassword"], given[b"password"]) == (b"s s", b"p")


def test_a_secret_in_an_address_is_preferred_to_one_that_is_passed_on() -> None:
    passed = parse_address("postgresql://me:old@h/db?sslpassword=old&scram_client_key=old").secret
    assert parse_address("postgresql://me:new@h/db?sslpassword=new", passed).secrets == {
        "password": "new",
        "sslpassword": "new",
        "scram_client_key": "old",
    }


def test_an_address_can_name_several_hosts() -> None:
    address = parse_address("postgresql://a:1,b:2/db?target_session_attrs=read-write")
    assert address.server == "postgresql://a:1,b:2/db?target_session_attrs=read-write"
    assert address.shown == "postgresql://a:1,b:2/db?schema=conveyor"


def test_an_address_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        open_store("postgresql://[::1/db")


@pytest.mark.parametrize("text", ["", "plain", "a\0b", "\x1a0\0\x1a\x1a1", "é\0"])
def test_a_text_with_nul_comes_back_as_it_was(text: str) -> None:
    assert unescape(escape(text)) == text
    assert "\0" not in escape(text)


# -- statements ------------------------------------------------------------------------------------


def test_every_statement_is_known_to_the_server_and_reads_if_it_says_so(url: str) -> None:
    connection = Connection(parse_address(url))
    for name, statement in STATEMENTS.items():
        for query in filter(None, (statement.query, statement.for_many_rows)):
            connection.begin(reads=name in READ_ONLY and b"FOR UPDATE" not in query.text)
            # Anything else is a wrong statement.
            with suppress(psycopg.errors.NotNullViolation):
                connection.execute(query, [None] * len(statement.names))
            connection.roll_back()
    connection.close()


HOT = {
    "heads": "ready_pkey",
    "next_of_lane": "ready_pkey",
    "count_lane": "ready_pkey",
    "lease": "ready_seq",
    "due": "later_due",
    "next_due": "later_due",
    "expired": "ready_expiring",
    "old": "final_old",
    "key_holder": "held_key_pkey",
    "is_there": "body_id_key",
    "get": "body_id_key",
    "find": "body_pkey",
    "find_sizes": "body_pkey",
    "scan": "body_pkey",
    "succeed": "running_pkey",
    "extend": "running_pkey",
    "lock_job": "running_pkey",
    "held": "running_pkey",
    "move": "body_pkey",
    "delete_job": "final_pkey",
    "any_offer": "offer_waiting",
    "output": "output_job",
    "refers": "file_digest",
    "add_up": "tally_queue",
    "add_up_past": "past_tally_queue",
    "queue_with_past": "past_tally_queue",
}


def test_a_hot_statement_walks_its_index_whatever_its_parameters_are(url: str) -> None:
    connection = Connection(parse_address(url))
    connection.script(b"SET plan_cache_mode = force_generic_plan")
    for name, index in HOT.items():
        statement = STATEMENTS[name]
        connection.script(f"PREPARE {name} AS ".encode() + statement.text)
        given = f" ({', '.join(['NULL'] * len(statement.names))})" if statement.names else ""
        rows = connection.session.execute(f"EXPLAIN EXECUTE {name}{given}".encode()).fetchall()
        plan = "\n".join(line for (line,) in rows)
        assert index in plan, (name, plan)
        assert "Seq Scan" not in plan, (name, plan)
    connection.close()


def test_the_schema_puts_durations_into_the_same_buckets(url: str, admin: Admin) -> None:
    ends = [FIRST_END * 2.0**number for number in range(BUCKETS)]
    times = [-1.0, 0.0, 1e9, *(end * near for end in ends for near in (0.999, 1.0, 1.001))]
    found = admin.run(
        f"SELECT {admin.schema}.time_bucket(each) FROM unnest(%s::FLOAT8[]) AS each", times
    )
    assert [row[0] for row in found] == [bucket(each) for each in times]
