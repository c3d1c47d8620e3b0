"""Answers that are lost on their way, and hints that come just as somebody begins to listen."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest
from cutting import UNANSWERED, Proxy
from estate import Estate

from conveyor import InvalidTransitionError, State, UnavailableError, UsageError
from conveyor.core.job import NewJob
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Hint
from conveyor.store.sqlite.store import SqliteStore


@pytest.fixture
def behind(estate: Estate) -> Iterator[SqliteStore]:
    """Return the store of a server that runs."""
    estate.server()
    store = SqliteStore(estate.db)
    yield store
    store.close()


def enqueued(store: SqliteStore | HttpStore, name: str = "job") -> str:
    store.insert([NewJob(id=name, task="t", queue="q", args=b"{}")]).result(10)
    return name


def test_a_cancel_whose_answer_is_lost_says_that_it_is_done(
    estate: Estate, behind: SqliteStore
) -> None:
    proxy = estate.closing(Proxy(estate.port, fates=[UNANSWERED] * 3))
    store = estate.closing(HttpStore(proxy.url, token=estate.admin))
    job = store.cancel(enqueued(behind), reason="no more").result(20)
    assert job.state is State.CANCELLED
    assert proxy.cuts == 3


def test_jobs_whose_acceptance_is_not_heard_of_are_there_once(
    estate: Estate, behind: SqliteStore
) -> None:
    proxy = estate.closing(Proxy(estate.port, fates=[UNANSWERED] * 3))
    store = estate.closing(HttpStore(proxy.url, token=estate.admin))
    for number in range(3):
        enqueued(store, f"job-{number}")
    assert [each.depth for each in behind.counts().result(10)] == [3]
    assert proxy.cuts == 3


def test_a_kept_connection_that_was_cut_meanwhile_costs_nothing(
    estate: Estate, behind: SqliteStore
) -> None:
    proxy = estate.closing(Proxy(estate.port))
    store = estate.closing(HttpStore(proxy.url, token=estate.admin))
    enqueued(store, "before")
    proxy.cut_off()
    proxy.let_through()
    enqueued(store, "after")
    assert [each.depth for each in behind.counts().result(10)] == [2]


def test_a_store_that_was_closed_takes_no_jobs(estate: Estate, behind: SqliteStore) -> None:
    store = estate.store()
    enqueued(store)
    store.close()
    with pytest.raises(UnavailableError, match="closed"):
        enqueued(store, "late")


@pytest.mark.parametrize("token", ["cvy_a\nHost: elsewhere", "cvy_ä", "cvy_a\0"])
def test_a_token_that_is_none_is_refused_before_it_is_sent(token: str) -> None:
    with pytest.raises(UsageError, match="one line"):
        HttpStore("http://127.0.0.1:1", token=token)


def test_a_cancel_of_what_was_cancelled_before_is_refused_all_the_same(
    estate: Estate, behind: SqliteStore
) -> None:
    behind.cancel(enqueued(behind), reason="earlier").result(10)
    with pytest.raises(InvalidTransitionError):
        estate.store().cancel("job", reason="no more").result(20)


def test_what_happens_once_a_stream_has_begun_is_heard(estate: Estate, behind: SqliteStore) -> None:
    for number in range(20):
        store = HttpStore(estate.url, token=estate.admin)
        begun, heard = Event(), Event()

        def hear(hint: Hint, begun: Event = begun, heard: Event = heard) -> None:
            (heard if hint.subjects else begun).set()

        store.listen(["final"], hear)
        assert begun.wait(10)
        behind.cancel(enqueued(behind, f"job-{number}"), reason="no more").result(10)
        assert heard.wait(10)
        store.close()
