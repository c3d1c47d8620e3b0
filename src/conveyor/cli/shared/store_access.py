"""Opens the configured store, and finds jobs in it."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager

from ...core.job import Detail, JobRecord, QueueInfo, ScheduleInfo, WorkerInfo
from ...core.page import Page
from ...core.pending import run_sync
from ...errors import NotFoundError, UsageError
from ...settings import DEFAULT, Settings, StoreChoice, load_settings
from ...store.call_style import BlockingCalls
from ...store.messages import Filter
from ...store.open import check_store_exists, open_store
from ...store.page_walk import read_jobs, read_queues, read_schedules, read_workers
from ...store.protocol import Store
from .short_ids import CUT

SHORTEST_ID_PART = 4
NEWEST = 1000


@contextmanager
def open_configured_store(url: str | None, *, create: bool = False) -> Generator[Store]:
    """Open the store at `url` (None: the configured one), and close it afterwards.

    UnavailableError if there is none, unless it may be created.
    """
    chosen = choose_command_store(load_settings({"url": url}))
    if not create:
        check_store_exists(chosen.url)
    store = open_store(chosen.url, token=chosen.token)
    try:
        yield store
    finally:
        store.close()


def choose_command_store(settings: Settings, *, app_decides: bool = False) -> StoreChoice:
    """Return the configured store; if none is, that of the configured application.

    `app_decides`: ask the application in any case, for whether the two are in conflict.
    """
    if settings["app"] and (app_decides or settings.sources["url"] == DEFAULT):
        # Slow to import, and most commands do without it.
        from .application import load_configured_app  # noqa: PLC0415

        return load_configured_app(settings).choose_store(settings)
    return StoreChoice(str(settings["url"]), settings.sources["url"])


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
    newest = find_jobs(store, Filter(), limit=NEWEST)
    matching = [job for job in newest if job.id.startswith(job_id) or job.id.endswith(job_id)]
    if len(matching) > 1:
        raise UsageError(f"{job_id!r} matches {len(matching)} jobs; give more characters of the id")
    if not matching:
        raise _no_job(job_id)
    return store.get(matching[0].id).result()


def find_jobs(
    store: Store, which: Filter, *, limit: int, include: Collection[Detail] = ()
) -> Page[JobRecord]:
    """Return the newest jobs of a filter, at most `limit`, in as many pages as that takes."""
    return run_sync(read_jobs(BlockingCalls(), store, which, limit=limit, include=include))


def find_workers(store: Store, timeout: float | None = None) -> list[WorkerInfo]:
    """Return all workers that sent a beat; TimeoutError if a page takes longer than `timeout`."""
    return run_sync(read_workers(BlockingCalls(), store, timeout))


def find_queues(store: Store, timeout: float | None = None) -> list[QueueInfo]:
    """Return every queue that was ever used; TimeoutError as above."""
    return run_sync(read_queues(BlockingCalls(), store, timeout))


def find_schedules(store: Store, timeout: float | None = None) -> list[ScheduleInfo]:
    """Return all schedules; TimeoutError as above."""
    return run_sync(read_schedules(BlockingCalls(), store, timeout))


def require_names(action: str, names: tuple[str, ...], what: str) -> None:
    """Check that a command has names to act on."""
    if not names:
        raise UsageError(f"specify the {what}s to {action}")


def _no_job(job_id: str) -> NotFoundError:
    return NotFoundError(f"job {job_id!r} not found; `conveyor ps` lists jobs")
