"""Roles with few rights in a schema: what each may do with each table.

A table that is added to the schema gets a line in `PRODUCER`, or one in `NOT_FOR_PRODUCERS`.
"""

from __future__ import annotations

from typing import Literal

Role = Literal["producer", "worker", "reader"]
# The one with most rights first.
ROLES: tuple[Role, ...] = ("worker", "producer", "reader")

# Written by the schema's owner only.
READ = frozenset({"schema_version"})

_ALL = "SELECT, INSERT, UPDATE, DELETE"
_COUNTS = "scheduled, available, running, retryable, completed, cancelled, discarded"
# A worker does everything but issue and revoke tokens; it deletes those that ended long ago.
WORKER = {"token": "SELECT, DELETE"}
# What a producer needs to enqueue, to wait for room and to declare its tasks. It cannot read
# arguments and results of jobs, or change a job. SELECT … FOR UPDATE needs UPDATE of some column.
PRODUCER = {
    "queue": f"SELECT, INSERT, UPDATE (capacity, {_COUNTS})",
    "counted_queue": "SELECT",
    "tally": "SELECT, INSERT, DELETE",
    # Whoever adds up the counts adds up what happened, too.
    "history": "SELECT, INSERT, UPDATE",
    "lane": "SELECT, INSERT",
    "job": "SELECT (seq, id, lane, state, unique_key), INSERT",
    # The parts of a job.
    "body": "SELECT (seq, id), INSERT",
    "ready": "INSERT",
    "later": "INSERT",
    "held_key": "SELECT, INSERT",
    # Whether the jobs have been moved to another store.
    "leader": "SELECT",
    "offer": _ALL,
    "offered_job": "SELECT, INSERT, DELETE",
    "offered_file": "SELECT, INSERT, DELETE",
    "file": "INSERT",
    "content": "SELECT, INSERT, UPDATE, DELETE",
    "content_piece": "SELECT, INSERT",
    "task": "SELECT, INSERT, UPDATE",
    "commit_mark": "SELECT, INSERT, UPDATE (id), DELETE",
}
NOT_FOR_PRODUCERS = frozenset(
    {
        *("attempt_error", "audit", "completion", "final", "mark", "output", "running", "schedule"),
        *("token", "worker"),
    }
)


def granted(role: Role, table: str) -> str:
    """Return the privileges of a role on a table or a view, as GRANT names them; "" for none."""
    if table in READ or role == "reader":
        return "SELECT"
    return WORKER.get(table, _ALL) if role == "worker" else PRODUCER.get(table, "")


def role_name(schema: str, role: Role) -> str:
    """Return the name of a role in the server."""
    return f"{schema}_{role}"


def creating_script(schema: str, tables: list[str]) -> str:
    """Return the SQL that makes the roles that do not exist, and grants them their rights."""
    roles = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN "
        f"CREATE ROLE {name} NOLOGIN; END IF; END $$;"
        for name in (role_name(schema, role) for role in ROLES)
    ]
    return "\n".join([*roles, *(granting_script(schema, role, tables) for role in ROLES)])


def granting_script(schema: str, role: Role, tables: list[str]) -> str:
    """Return the SQL that gives a role exactly its rights in a schema."""
    name = role_name(schema, role)
    parts = [
        f"GRANT USAGE ON SCHEMA {schema} TO {name};",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name};",
    ]
    parts += [
        f"GRANT {rights} ON {schema}.{table} TO {name};"
        for table in tables
        if (rights := granted(role, table))
    ]
    if role != "reader":
        parts.append(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {name};")
    return "\n".join(parts)
