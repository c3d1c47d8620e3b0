"""A list that is cut off says where its next page starts, and the last page says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from calls import claim, new, put
from raw_http import RawClient
from served import OpenAuthenticator, Serving

from conveyor.core.access import Action, issue_token
from conveyor.core.job import OutputChunk
from conveyor.store.memory.store import MemoryStore

# path, the parameter for the cursor, and the field that it is the last value of
LISTS = [
    ("/jobs?queue=q&", "before", "seq"),
    ("/jobs/job/output?", "after", "seq"),
    ("/tokens?", "after", "id"),
    ("/audit?", "before", "seq"),
]


@pytest.fixture
def server() -> Iterator[Serving]:
    store = MemoryStore()
    put(store, new(id="job"), *(new() for _ in range(4)))
    [job] = claim(store)
    chunks = [
        OutputChunk(job_id=job.id, lease=job.lease, offset=n, stream="stdout", at=0, data=b"x")
        for n in range(5)
    ]
    store.write_output(chunks).result()
    for number in range(5):
        store.add_token(issue_token(f"token {number}", ["read"], now=0.0)[1]).result()
        store.note_action([Action(who="a", where="b", what="c", subject=str(number))]).result()
    serving = Serving(store, authenticator=OpenAuthenticator(store))
    yield serving
    serving.close()
    store.close()


@pytest.mark.parametrize(("path", "parameter", "field"), LISTS, ids=lambda each: each)
def test_a_list_is_read_to_its_end_by_its_cursor(
    path: str, parameter: str, field: str, server: Serving
) -> None:
    ask = RawClient(server.url)
    whole = ask("GET", path)
    assert (len(whole.data), whole.headers.get("next-cursor")) == (5, None)
    pages: list[list[Any]] = []
    cursor = ""
    while cursor is not None:
        answer = ask("GET", f"{path}limit=2{cursor and f'&{parameter}={cursor}'}")
        pages.append(answer.data)
        cursor = answer.headers.get("next-cursor")
        assert cursor == (str(answer.data[-1][field]) if len(pages) < 3 else None)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == whole.data


@pytest.mark.parametrize(("path", "parameter", "field"), LISTS, ids=lambda each: each)
def test_a_page_that_ends_with_the_list_has_no_cursor(
    path: str, parameter: str, field: str, server: Serving
) -> None:
    answer = RawClient(server.url)("GET", f"{path}limit=5")
    assert (len(answer.data), answer.headers.get("next-cursor")) == (5, None)
