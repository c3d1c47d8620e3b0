"""Roles of PostgreSQL with few rights: each can do its part, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import psycopg
import pytest
from calls import BROKEN, claim, new, offer, put, settle
from test_operations import DECLARED

from conveyor.core.access import Action, issue_token
from conveyor.core.files import FileInfo
from conveyor.core.job import (
    JobRecord,
    OutputChunk,
    Progress,
    ScheduleInfo,
    State,
    StopNote,
    TaskDefaults,
    WorkerInfo,
)
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import Pending
from conveyor.core.stack import StackDump
from conveyor.errors import UnavailableError
from conveyor.store.messages import Claimant, Filter, Lease, Offered, Report, Want
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.migrate import Migration
from conveyor.store.postgres.notifier import PostgresNotifier
from conveyor.store.postgres.roles import NOT_FOR_PRODUCERS, PRODUCER, READ, ROLES, Role
from conveyor.store.postgres.store import PostgresStore

NUMBERS = count(1)
DATA = b"content"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def owner(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(url)
    yield opened
    opened.close()


@dataclass
class Seed:
    """What a schema has before a call."""

    waiting: str
    final: str
    running: JobRecord
    offer: str
    token: str
    schedule: str
    fingerprint: str

    @property
    def lease(self) -> Lease:
        return Lease(self.running.id, self.running.lease)


def seed(owner: PostgresStore) -> Seed:
    """Add what calls can be about."""
    name = f"n{next(NUMBERS)}"
    final, _, waiting = put(owner, *(new(queue=name) for _ in range(3)))
    ended, held = claim(owner, 2, queue=name)
    assert settle(owner, ended, Succeeded(b"1"))
    put(owner, new(queue=f"{name}-full"), capacity=1)
    waits = offer(owner, new(queue=f"{name}-full"), capacity=1)
    assert isinstance(waits, Offered)
    _, token = issue_token(name, ["read"], (), now=1.0)
    owner.add_token(token).result()
    owner.put_schedule(schedule(name)).result()
    owner.beat(worker(name)).result()
    put(owner, new(queue=f"{name}-failing"))
    [failing] = claim(owner, queue=f"{name}-failing")
    assert settle(owner, failing, BROKEN)
    [entry] = owner.history(failing.id).result()
    return Seed(waiting, final, held, waits.offer, token.id, name, entry.fingerprint)


def schedule(name: str) -> ScheduleInfo:
    return ScheduleInfo(name=name, cron="@daily", timezone="UTC", missed="skip", next_at=2.0)


def worker(name: str) -> WorkerInfo:
    who = {"id": name, "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0}
    return WorkerInfo(**who, started_at=1.0, slots=1, queues=())


def upload(store: PostgresStore) -> Pending[object]:
    return store.write_content(DIGEST, 0, DATA, last=True)


def final_of(at: Seed) -> Filter:
    return Filter(queue=at.schedule, states=frozenset({State.COMPLETED}))


Call = Callable[[PostgresStore, Seed], Pending[object]]
# For each operation: the roles that may call it, and a call.
CALLS: dict[str, tuple[str, Call]] = {
    "insert": ("pw", lambda s, _: s.insert([new(key=f"k{next(NUMBERS)}"), new()], capacity=99)),
    "accepted": ("pw", lambda s, at: s.accepted(at.offer)),
    "withdraw": ("pw", lambda s, at: s.withdraw(at.offer)),
    "put_tasks": ("pw", lambda s, _: s.put_tasks([TaskDefaults(name="t")])),
    "task_defaults": ("pwr", lambda s, _: s.task_defaults("t")),
    "counts": ("pwr", lambda s, _: s.counts()),
    "queue_info": ("pwr", lambda s, at: s.queue_info(at.schedule)),
    "content": ("pw", lambda s, _: s.content(DIGEST)),
    "write_content": ("pw", lambda s, _: upload(s)),
    "read_content": ("pwr", lambda s, _: s.read_content(DIGEST, 0, 9)),
    "offered": ("pwr", lambda s, at: s.offered(at.waiting)),
    "claim": ("w", lambda s, at: s.claim([Want(at.schedule, 1)], Claimant("w"), limit=1)),
    "settle": (
        "w",
        lambda s, at: s.settle([Report(at.lease.id, at.lease.lease, Succeeded(b"2"))]),
    ),
    "exchange": (
        "w",
        lambda s, at: s.exchange([], [Want(at.schedule, 1)], Claimant("w"), limit=1),
    ),
    "extend": ("w", lambda s, at: s.extend([at.lease], lease_for=9.0)),
    "extend_worker": ("w", lambda s, _: s.extend_worker("w", lease_for=9.0)),
    "write_output": (
        "w",
        lambda s, at: s.write_output(
            [
                OutputChunk(
                    job_id=at.lease.id,
                    lease=at.lease.lease,
                    offset=0,
                    stream="stdout",
                    at=1.0,
                    data=b"x",
                )
            ]
        ),
    ),
    "set_progress": ("w", lambda s, at: s.set_progress([(at.lease, Progress(1.0))])),
    "request_stack": ("w", lambda s, at: s.request_stack(at.lease.id)),
    "stack_requests": ("wr", lambda s, _: s.stack_requests("w")),
    "put_stack": ("w", lambda s, at: s.put_stack(at.lease, StackDump(kind="thread"))),
    "stack": ("wr", lambda s, at: s.stack(at.lease.id)),
    "set_stopping": ("w", lambda s, at: s.set_stopping([(at.lease, [StopNote(1.0, "x")])])),
    "attach": (
        "w",
        lambda s, at: s.attach(
            at.lease, FileInfo(name="a", digest=DIGEST, size=len(DATA), kind="artifact")
        ),
    ),
    "cancel": ("w", lambda s, at: s.cancel(at.waiting, reason="r")),
    "retry": ("w", lambda s, at: s.retry(at.final)),
    "delete": ("w", lambda s, at: s.delete(at.final)),
    "set_paused": ("w", lambda s, at: s.set_paused(at.schedule, paused=True)),
    "stage": ("w", lambda s, _: s.stage(limit=9)),
    "rescue": ("w", lambda s, at: s.rescue(dead=[at.schedule], limit=9)),
    "prune": ("w", lambda s, _: s.prune({State.COMPLETED: 1e6}, limit=9)),
    "beat": ("w", lambda s, _: s.beat(worker("beating"))),
    "order": ("w", lambda s, at: s.order(at.schedule, "quiet")),
    "dismiss": ("w", lambda s, at: s.dismiss(at.schedule)),
    "leave": ("w", lambda s, at: s.leave(at.schedule)),
    "put_schedule": ("w", lambda s, _: s.put_schedule(schedule("new"))),
    "pause_schedule": ("w", lambda s, at: s.pause_schedule(at.schedule, paused=True)),
    "remove_schedule": ("w", lambda s, at: s.remove_schedule(at.schedule)),
    "tick": ("w", lambda s, at: s.tick(at.schedule, due_at=2.0, next_at=3.0, jobs=[new()])),
    "lead": ("w", lambda s, _: s.lead("scaler", "me", hold=1.0)),
    "note_action": (
        "w",
        lambda s, _: s.note_action([Action(who="w", where="h", what="cancel", subject="j")]),
    ),
    "sweep_contents": ("w", lambda s, _: s.sweep_contents(limit=9)),
    "get": ("wr", lambda s, at: s.get(at.final)),
    "find": ("wr", lambda s, _: s.find(Filter(), limit=9)),
    "history": ("wr", lambda s, at: s.history(at.final)),
    "output": ("wr", lambda s, at: s.output(at.final, limit=9)),
    "ahead": ("wr", lambda s, at: s.ahead(at.waiting)),
    "check": ("wr", lambda s, _: s.check()),
    "workers": ("wr", lambda s, _: s.workers()),
    "schedules": ("wr", lambda s, _: s.schedules()),
    "actions": ("wr", lambda s, _: s.actions(limit=9)),
    "load": ("wr", lambda s, _: s.load(limit=9)),
    "leader": ("pwr", lambda s, _: s.leader("scaler")),
    "add_mark": ("w", lambda s, _: s.add_mark("x", who="me")),
    "marks": ("wr", lambda s, _: s.marks(limit=9)),
    "queue_history": ("pwr", lambda s, at: s.queue_history(at.schedule)),
    "overview": ("wr", lambda s, _: s.overview()),
    "files": ("wr", lambda s, at: s.files(at.final)),
    "attempts": ("wr", lambda s, at: s.attempts(at.final)),
    "job_counts": ("wr", lambda s, _: s.job_counts(Filter(task="t", text="x"))),
    "match": ("wr", lambda s, _: s.match(Filter(error="none"), "retry")),
    "act": ("w", lambda s, at: s.act(final_of(at), upto=999, action="delete", reason="r")),
    "failures": ("wr", lambda s, _: s.failures()),
    "failure": ("wr", lambda s, at: s.failure(at.fingerprint)),
    # A producer declares capacities with its jobs, too.
    "set_capacity": ("pw", lambda s, at: s.set_capacity(at.schedule, 9)),
    "run_schedule": ("w", lambda s, at: s.run_schedule(at.schedule)),
    "recent_jobs": ("wr", lambda s, at: s.recent_jobs(at.schedule)),
    "add_token": ("", lambda s, _: s.add_token(issue_token("n", ["read"], (), now=1.0)[1])),
    "token": ("wr", lambda s, at: s.token(at.token)),
    "tokens": ("wr", lambda s, _: s.tokens(limit=9)),
    "revoke_token": ("", lambda s, at: s.revoke_token(at.token)),
}
CONTENTS = {"content", "write_content", "read_content", "sweep_contents"}
# What a store puts together of several operations.
COMPOSED = {"queue_history", "overview"}


@contextmanager
def opened_as(role: Role, url: str) -> Iterator[PostgresStore]:
    """Open the store as a user that has this role and nothing else."""
    address = parse_address(url)
    user = f"{address.schema}_{role}_user"
    with psycopg.connect(address.server, autocommit=True) as admin:
        admin.execute(Migration(address).role_script().encode())
        admin.execute(f"CREATE ROLE {user} LOGIN IN ROLE {address.schema}_{role}".encode())
        try:
            store = PostgresStore(url.replace("//postgres@", f"//{user}@"))
            try:
                yield store
            finally:
                store.close()
        finally:
            roles = ", ".join(f"{address.schema}_{each}" for each in ROLES)
            admin.execute(f"DROP OWNED BY {roles}; DROP ROLE {roles}, {user}".encode())


def is_allowed(call: Call, store: PostgresStore, at: Seed) -> bool:
    try:
        call(store, at).result()
    except UnavailableError as error:
        if "refuses this user: permission denied" not in str(error):
            raise
        return False
    return True


def test_every_operation_is_judged() -> None:
    assert CALLS.keys() == {*DECLARED, *CONTENTS, *COMPOSED}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_its_part_and_nothing_else(
    role: Role, url: str, owner: PostgresStore
) -> None:
    upload(owner).result()
    address = parse_address(url)
    with psycopg.connect(address.server) as admin:  # a content for the sweep
        unused = f"INSERT INTO {address.schema}.content VALUES (%s, 0, TRUE, 0)"
        admin.execute(unused.encode(), ("0" * 64,))
    with opened_as(role, url) as store:
        allowed = {name: is_allowed(call, store, seed(owner)) for name, (_, call) in CALLS.items()}
    assert allowed == {name: role[0] in roles for name, (roles, _) in CALLS.items()}
    assert owner.check().result() == []


def test_a_producer_sees_no_arguments_and_results_and_drops_no_jobs(
    url: str, owner: PostgresStore
) -> None:
    at = seed(owner)
    schema = parse_address(url).schema
    with opened_as("producer", url) as store:
        for column in ("args", "result", "options", "error"):
            with (
                psycopg.connect(parse_address(store.url).server) as session,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                session.execute(f"SELECT {column} FROM {schema}.job".encode())
        dropping = store.insert(
            [new(queue=f"{at.schedule}-full")], capacity=1, when_full="drop_oldest"
        )
        with pytest.raises(UnavailableError, match="refuses this user"):
            dropping.result()


def test_a_producer_adds_up_counts_for_itself(url: str) -> None:
    with opened_as("producer", url) as store, psycopg.connect(parse_address(url).server) as admin:
        put(store, new())
        put(store, new())  # in one statement, as the lane is known now
        store.close()
        assert admin.execute(
            f"SELECT sum(available) FROM {parse_address(url).schema}.counted_queue".encode()
        ).fetchall() == [(2,)]


@pytest.mark.parametrize("role", ROLES)
def test_the_thread_of_hints_goes_on_whatever_its_role_may_delete(role: Role, url: str) -> None:
    with opened_as(role, url) as store:
        address = parse_address(store.url)
        connection = Connection(address)
        PostgresNotifier(address)._forget_marks(connection)
        assert connection.query("tallied_queues") == []
        connection.close()


def test_every_table_of_the_schema_is_in_a_rule(url: str) -> None:
    address = parse_address(url)
    with psycopg.connect(address.server) as session:
        rows = session.execute(
            "SELECT relname::TEXT FROM pg_class WHERE relnamespace = %s::REGNAMESPACE "
            "AND relkind IN ('r', 'p') AND NOT relispartition",
            (address.schema,),
        ).fetchall()
    tables = {name for (name,) in rows}
    known = PRODUCER.keys() | NOT_FOR_PRODUCERS
    assert tables - known - READ == set()
    assert not PRODUCER.keys() & NOT_FOR_PRODUCERS


def test_a_migration_gives_roles_their_rights_in_new_tables(url: str) -> None:
    address = parse_address(url)
    with opened_as("reader", url) as reader, psycopg.connect(address.server) as session:
        session.autocommit = True
        user = parse_address(reader.url).server.partition("//")[2].partition("@")[0]
        version = f"UPDATE {address.schema}.schema_version SET version = %s".encode()
        newest = Migration(address).versions()[0]
        session.execute(version, (0,))
        steps = ["CREATE TABLE extra (id BIGINT);"]
        Migration(address, steps=steps).run()
        try:
            query = "SELECT has_table_privilege(%s, %s, 'SELECT')"
            given = (user, f"{address.schema}.extra")
            assert session.execute(query, given).fetchall() == [(True,)]
        finally:
            session.execute(f"DROP TABLE {address.schema}.extra".encode())
            session.execute(version, (newest,))
