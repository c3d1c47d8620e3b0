"""Completing a job in the application's own transaction, from the job's code."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from ..core.codec import ResultCodec
from ..core.job import JobRecord, State
from ..core.lifecycle import Failed, Succeeded, checked_outcome
from ..errors import ConveyorError, EncodingError, InvalidTransitionError, UsageError
from ..store.caller_connection import caller_connection, query
from ..store.caller_errors import translated
from ..store.protocol import Store
from ..store.protocol_transactions import TransactionalStore


class CallerCompletions:
    """Where the jobs of a worker are, for those that complete theirs themselves.

    `schema` has the tables; "" if no transaction of an application can reach the store.
    """

    def __init__(self, store: Store) -> None:
        self.schema = store.schema if isinstance(store, TransactionalStore) else ""
        self._store = store

    async def have(self, job: JobRecord) -> bool:
        """Whether a transaction has completed a job under this lease; False if that is unknown."""
        try:
            known = await self._store.get(job.id)
        except ConveyorError:
            return False
        return known.state is State.COMPLETED and known.lease == job.lease


def encode_result(value: object, results: ResultCodec, task: str) -> bytes | None:
    """Return a result as it is stored; EncodingError if it cannot be, or is too large."""
    if value is None and results.allows_none:
        return None
    result = results.encode(value, task)
    checked = checked_outcome(Succeeded(result))
    if isinstance(checked, Failed):
        raise EncodingError(checked.error.message)
    return result


async def complete_within(
    connection: object, job: JobRecord, result: bytes | None, schema: str, *, in_coroutine: bool
) -> None:
    """Have the commit of the connection's transaction complete a job.

    InvalidTransitionError if the lease is lost.
    """
    if not schema:
        raise UsageError(
            "complete_in() is for jobs in PostgreSQL, in the database of the connection, and this "
            "job is in another store: return its result instead"
        )
    caller = caller_connection(connection, in_coroutine=in_coroutine)
    await caller.in_transaction()  # raises if no statement can be run
    values: list[Any] = [job.id, job.lease, result, None if result is None else crc32(result)]
    text = f"SELECT {schema}.complete_job($1::TEXT, $2::INT8, $3::BYTEA, $4::INT8)"
    try:
        [(is_held,)] = await query(caller, text, values)
    except Exception as error:
        ours = translated(error, f"schema {schema!r}")
        if ours is None:
            raise
        raise ours from error
    if not is_held:
        raise InvalidTransitionError(
            f"job {job.id} is no longer held under lease {job.lease}, so another worker may run "
            "it: roll back, and let this error end the job's code"
        )
