"""Responses that are lost, and hints that arrive just when a stream opens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Event

import pytest
from cutting_proxy import UNANSWERED, CuttingProxy
from deployment import Deployment

from conveyor import InvalidTransitionError, State, UnavailableError, UsageError
from conveyor.core.job import NewJob
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Hint
from conveyor.store.sqlite.store import SqliteStore


@pytest.fixture
def behind(deployment: Deployment) -> Iterator[SqliteStore]:
    """Return the store of a server that runs."""
    deployment.server_thread()
    store = SqliteStore(deployment.db)
    yield store
    store.close()


def enqueued(store: SqliteStore | HttpStore, name: str = "job") -> str:
    store.insert([NewJob(id=name, task="t", queue="q", args=b"{}")]).result(10)
    return name


def test_a_cancel_whose_response_is_lost_still_succeeds(
    deployment: Deployment, behind: SqliteStore
) -> None:
    proxy = deployment.closing(CuttingProxy(deployment.port, fates=[UNANSWERED] * 3))
    store = deployment.closing(HttpStore(proxy.url, token=deployment.admin))
    job = store.cancel(enqueued(behind), reason="no more").result(60)
    assert job.state is State.CANCELLED
    assert proxy.cuts == 3


def test_jobs_whose_response_is_lost_are_enqueued_once(
    deployment: Deployment, behind: SqliteStore
) -> None:
    proxy = deployment.closing(CuttingProxy(deployment.port, fates=[UNANSWERED] * 3))
    store = deployment.closing(HttpStore(proxy.url, token=deployment.admin))
    for number in range(3):
        enqueued(store, f"job-{number}")
    assert [each.depth for each in behind.counts().result(10)] == [3]
    assert proxy.cuts == 3


def test_an_idle_connection_that_was_cut_is_replaced(
    deployment: Deployment, behind: SqliteStore
) -> None:
    proxy = deployment.closing(CuttingProxy(deployment.port))
    store = deployment.closing(HttpStore(proxy.url, token=deployment.admin))
    enqueued(store, "before")
    proxy.cut_off()
    proxy.let_through()
    enqueued(store, "after")
    assert [each.depth for each in behind.counts().result(10)] == [2]


def test_a_store_that_was_closed_takes_no_jobs(deployment: Deployment, behind: SqliteStore) -> None:
    store = deployment.store()
    enqueued(store)
    store.close()
    with pytest.raises(UnavailableError, match="closed"):
        enqueued(store, "late")


@pytest.mark.parametrize("token", ["cvy_a\nHost: elsewhere", "cvy_ä", "cvy_a\0"])
def test_a_malformed_token_is_refused_before_it_is_sent(token: str) -> None:
    with pytest.raises(UsageError, match="one line"):
        HttpStore("http://127.0.0.1:1", token=token)


def test_cancelling_a_cancelled_job_is_refused(deployment: Deployment, behind: SqliteStore) -> None:
    behind.cancel(enqueued(behind), reason="earlier").result(10)
    with pytest.raises(InvalidTransitionError):
        deployment.store().cancel("job", reason="no more").result(60)


def test_a_stream_of_hints_asks_that_no_proxy_compress_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = HttpStore(f"http://127.0.0.1:{server.getsockname()[1]}")
        store.listen(["final"], lambda _hint: None)
        server.settimeout(10)
        connection, _ = server.accept()
        with connection:
            assert b"accept-encoding: identity\r\n" in connection.recv(65536).lower()
        store.close()


def test_hints_after_the_begin_of_a_stream_are_received(
    deployment: Deployment, behind: SqliteStore
) -> None:
    for number in range(20):
        store = HttpStore(deployment.url, token=deployment.admin)
        begun, heard = Event(), Event()

        def hear(hint: Hint, begun: Event = begun, heard: Event = heard) -> None:
            (heard if hint.subjects else begun).set()

        store.listen(["final"], hear)
        assert begun.wait(60)
        behind.cancel(enqueued(behind, f"job-{number}"), reason="no more").result(10)
        assert heard.wait(60)
        store.close()
