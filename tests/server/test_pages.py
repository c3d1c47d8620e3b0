"""A list that is cut off says where its next page starts, and the last page says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec
import pytest
from calls import BROKEN, claim, new, put, settle
from raw_http import RawClient
from served import OpenAuthenticator, Serving

from conveyor.core.access import Action, issue_token
from conveyor.core.job import OutputChunk, ScheduleInfo, WorkerInfo
from conveyor.store.memory.store import MemoryStore

# path, the parameter for the cursor, and the field that it is the last value of
LISTS = [
    ("/jobs?queue=q&", "before", "seq"),
    ("/jobs/job/output?", "after", "seq"),
    ("/jobs/failed/history?", "after", "seq"),
    ("/tokens?", "after", "id"),
    ("/audit?", "before", "seq"),
    ("/queues?", "after", "name"),
    ("/workers?", "after", "id"),
    ("/schedules?", "after", "name"),
]


WORKER = partial(
    WorkerInfo,
    host="h",
    boot_id="b",
    pid=1,
    pid_started=0.0,
    started_at=0.0,
    slots=1,
    queues=("q",),
)
RULE = partial(ScheduleInfo, cron="@daily", timezone="UTC", missed="once", next_at=9.0)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    opened.close()


@pytest.fixture
def server(store: MemoryStore) -> Iterator[Serving]:
    put(store, new(id="job"), *(new() for _ in range(4)))
    put(store, new(id="failed", queue="other", retries=9))
    for queue in ("third", "fourth", "fifth"):
        put(store, new(queue=queue))
    [job] = claim(store)
    for _ in range(5):
        [failing] = claim(store, queue="other")
        settle(store, failing, BROKEN)
        store.retry("failed").result()
    chunks = [
        OutputChunk(job_id=job.id, lease=job.lease, offset=n, stream="stdout", at=0, data=b"x")
        for n in range(5)
    ]
    store.write_output(chunks).result()
    for number in range(5):
        store.beat(WORKER(id=f"w{number}")).result()
        store.put_schedule(RULE(name=f"s{number}")).result()
        store.add_token(issue_token(f"token {number}", ["read"], now=0.0)[1]).result()
        store.note_action([Action(who="a", where="b", what="c", subject=str(number))]).result()
    serving = Serving(store, authenticator=OpenAuthenticator(store))
    yield serving
    serving.close()


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


NAMES = ["a b", "a%41", "a\r\nSet-Cookie: x", "ü", "\ue000", "\U0010ffff"]


def test_a_list_of_any_names_is_read_to_its_end_and_no_name_writes_a_header() -> None:
    store = MemoryStore()
    for name in NAMES:
        put(store, new(queue=name))
    serving = Serving(store)
    ask, read, cursor = RawClient(serving.url), list[str](), ""
    while cursor is not None:
        answer = ask("GET", f"/queues?limit=1&{urlencode({'after': unquote(cursor)})}")
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
        read += [each["name"] for each in answer.data]
        cursor = answer.headers.get("next-cursor")
    assert read == sorted(NAMES)
    serving.close()
    store.close()


def test_a_page_that_is_cut_by_bytes_has_a_cursor(server: Serving, store: MemoryStore) -> None:
    args = b'{"x": "%b"}' % (b"y" * 1_000_000)
    put(store, *(new(queue="large", args=args) for _ in range(9)))
    ask = RawClient(server.url)
    sizes: list[int] = []
    cursor = ""
    while cursor is not None:
        answer = ask("GET", f"/jobs?queue=large&include=args{cursor and f'&before={cursor}'}")
        assert answer.data[0]["args"] == {"x": "y" * 1_000_000}
        sizes.append(len(answer.data))
        cursor = answer.headers.get("next-cursor")
    assert sizes == [4, 4, 1]


def test_a_list_of_jobs_has_the_details_that_are_named(server: Serving, store: MemoryStore) -> None:
    put(store, new(queue="one", args=b'{"x": 1}', meta={"a": "b"}))
    ask = RawClient(server.url)
    [summary] = ask("GET", "/jobs?queue=one").data
    assert (summary["args"], summary["omitted"]) == ({}, ["args", "options", "result", "stopping"])
    assert summary["result"] is None
    assert not {"options", "stopping"} & summary.keys()
    [some] = ask("GET", "/jobs?queue=one&include=args,options").data
    assert (some["args"], some["options"]["meta"]) == ({"x": 1}, {"a": "b"})
    assert some["omitted"] == ["result", "stopping"]
    [whole] = ask("GET", "/jobs?queue=one&include=stopping,args,options,result").data
    assert whole == ask("GET", f"/jobs/{whole['id']}").data
    assert "omitted" not in whole
    refused = ask("GET", "/jobs?include=args,traceback")
    assert refused.status == 400
    assert "unknown detail 'traceback'" in refused.data["detail"]


def test_a_client_of_an_earlier_version_reads_a_list_without_details(
    server: Serving, store: MemoryStore
) -> None:
    """It knows no `omitted`, and needs `args`."""

    class EarlierView(msgspec.Struct):
        id: str
        args: msgspec.Raw
        state: str
        result: msgspec.Raw = msgspec.Raw(b"null")

    put(store, new(id="one", queue="one", args=b'{"x": 1}'))
    listed = RawClient(server.url)("GET", "/jobs?queue=one").data
    [view] = msgspec.json.decode(msgspec.json.encode(listed), type=list[EarlierView])
    assert (view.id, bytes(view.args)) == ("one", b"{}")


def test_a_list_of_a_limited_token_has_its_own_pages() -> None:
    """A cursor does not name what the token must not see."""
    store = MemoryStore()
    for number in range(6):
        queue = "mine" if number % 2 else "other"
        put(store, new(queue=f"{queue}{number}"))
        store.beat(WORKER(id=f"{queue}-w{number}", queues=(f"{queue}{number}",))).result()
    secret, token = issue_token("t", ["read"], ["mine1", "mine3", "mine5"], now=0.0)
    store.add_token(token).result()
    serving = Serving(store, tokens=True)
    ask = RawClient(serving.url, secret)
    for path, field in (("/queues", "name"), ("/workers", "id")):
        whole = ask("GET", path)
        assert [each[field][:4] for each in whole.data] == ["mine"] * 3
        first = ask("GET", f"{path}?limit=2")
        assert first.headers["next-cursor"] == whole.data[1][field]
        last = ask("GET", f"{path}?limit=2&after={whole.data[1][field]}")
        assert (first.data + last.data, last.headers.get("next-cursor")) == (whole.data, None)
    serving.close()
    store.close()
