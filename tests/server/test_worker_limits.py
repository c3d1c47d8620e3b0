"""A worker that a server would refuse does not start, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from raw_http import RawClient
from served import Serving

from conveyor import Conveyor, UsageError
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import MAX_WANTS, Claimant, Want


@pytest.fixture
def remote() -> Iterator[HttpStore]:
    serving = Serving(MemoryStore())
    store = HttpStore(serving.url)
    yield store
    store.close()
    serving.close()


def names(count: int, length: int = 6) -> list[str]:
    return [f"{number:0{length}}" for number in range(count)]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queues": names(MAX_WANTS + 1)}, "has 1,001 queues, and a server accepts at most 1,000"),
        ({"labels": names(101)}, "labels, and a server accepts at most 100"),
        ({"queues": names(400, length=100)}, "the names of this worker's queues and labels are"),
    ],
)
def test_a_worker_with_more_than_a_server_accepts_does_not_start(
    remote: HttpStore, options: dict[str, list[str]], error: str
) -> None:
    belt = Conveyor(store=remote)
    with pytest.raises(UsageError, match=error) as raised:
        belt.worker(**options)
    assert "start several workers" in str(raised.value)
    Conveyor("memory:").worker(**options)


def test_a_worker_with_as_many_queues_as_a_server_accepts_starts_and_claims(
    remote: HttpStore,
) -> None:
    queues = names(MAX_WANTS)
    info = Conveyor(store=remote).worker(queues=queues).parts.info
    assert remote.beat(info).result(10) == "work"
    wants = [Want(name, 1) for name in queues]
    assert remote.claim(wants, Claimant(info.id), limit=1).result(10).jobs == ()


def test_a_claim_of_more_queues_is_refused_with_the_number(remote: HttpStore) -> None:
    wants = [{"queue": name, "limit": 1} for name in names(MAX_WANTS + 1)]
    refused = RawClient(remote.url)("POST", "/workers/w/claim", {"wants": wants, "limit": 1})
    assert refused.status == 400
    assert "1000" in refused.text
