"""Opens the configured store, and finds jobs in it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ...core.job import JobRecord
from ...errors import NotFoundError, UsageError
from ...settings import load_settings
from ...store.messages import Filter
from ...store.open import open_store
from ...store.protocol import Store
from .output import CUT

SHORTEST_ID_PART = 4
NEWEST = 1000


@contextmanager
def open_configured_store(url: str | None) -> Generator[Store]:
    """Open the store at `url` (None: the configured one), and close it afterwards."""
    store = open_store(str(load_settings({"url": url})["url"]))
    try:
        yield store
    finally:
        store.close()


def find_job(store: Store, job_id: str) -> JobRecord:
    """Return a job by its id, or by the first or last characters of it among the newest jobs.

    An id may begin with the sign that `conveyor ps` cuts it with.
    """
    job_id = job_id.removeprefix(CUT)
    try:
        return store.get(job_id).result()
    except NotFoundError:
        if len(job_id) < SHORTEST_ID_PART:
            raise _no_job(job_id) from None
    newest = store.find(Filter(), limit=NEWEST).result()
    matching = [job for job in newest if job.id.startswith(job_id) or job.id.endswith(job_id)]
    if len(matching) > 1:
        raise UsageError(f"{job_id!r} matches {len(matching)} jobs; give more characters of the id")
    if not matching:
        raise _no_job(job_id)
    return matching[0]


def require_names(action: str, names: tuple[str, ...], what: str) -> None:
    """Check that a command has names to act on."""
    if not names:
        raise UsageError(f"specify the {what}s to {action}")


def _no_job(job_id: str) -> NotFoundError:
    return NotFoundError(f"job {job_id!r} not found; `conveyor ps` lists jobs")
