"""Jobs that fail with a traceback, for tests of failures that are alike."""

from __future__ import annotations

from calls import claim, new, put, settle

from conveyor.core.job import ErrorInfo
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.store.protocol import Store

TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/mail.py", line {line}, in send
    connect(host)
  File "/usr/lib/python3/dist-packages/net.py", line 9, in connect
    raise OSError(host)
OSError: {host}"""


def failed(host: str = "a", line: int = 3) -> Failed:
    return Failed(ErrorInfo("OSError", host, TRACEBACK.format(line=line, host=host)))


def run(store: Store, *outcomes: Failed | Succeeded, worker: str = "w") -> list[str]:
    """Enqueue a job for each outcome, and settle it."""
    ids = []
    for outcome in outcomes:
        [job_id] = put(store, new())
        [job] = claim(store, worker=worker)
        settle(store, job, outcome)
        ids.append(job_id)
    return ids
