"""What a job that is enqueued like another one takes over from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from msgspec import UNSET

from ..core.job import Callback, JobRecord
from ..core.record import decode_json
from ..core.secret_mask import unmask
from ..core.unreadable import UNREADABLE
from ..errors import UsageError
from ..store.http.inspection_payloads import CopyBody
from ..store.http.wire import NewJobView


def copied(
    job: JobRecord,
    body: CopyBody,
    masked_keys: Collection[str],
    callbacks: Sequence[Callback] = (),
) -> NewJobView:
    """Return a new job like another one; UsageError if that one cannot be read.

    It takes over all options but these: its unique key with what belongs to it, which the other one
    may still hold, its expiry, which may be over, and its trace, which tells of the other one's
    request. It has the
    `callbacks` that its task declares, and none that the other one was given.
    """
    if job.damage:
        raise UsageError(f"job {job.id} cannot be copied: {job.damage}")
    args = job.args
    if body.args is not UNSET:
        try:
            given = msgspec.json.decode(bytes(body.args))
        except UNREADABLE as error:
            raise UsageError(f"args of the copy cannot be read: {error}") from error
        original = decode_json(job.args)
        # Not encoded again if nothing was masked: numbers would change how they are written.
        restored = unmask(given, original, masked_keys)
        args = bytes(body.args) if restored is given else msgspec.json.encode(restored)
    return NewJobView(
        task=job.task,
        args=msgspec.Raw(args),
        priority=job.priority if body.priority is None else body.priority,
        run_at=body.run_at,
        delay=body.delay,
        options=msgspec.structs.replace(
            job.options,
            key=None,
            on_conflict="keep",
            postpone_limit=None,
            replaced_by=None,
            expires_at=None,
            trace=None,
        ),
        callbacks=tuple(callbacks),
        complete=True,
    )
