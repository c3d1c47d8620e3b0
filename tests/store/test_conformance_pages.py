"""What every store promises about lists: a page has a bound in bytes, and says if more follow."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from calls import claim, new, put, settle
from served import Served

from conveyor.core.access import Action, Token
from conveyor.core.job import (
    DETAILS,
    NO_OPTIONS,
    AttemptError,
    Detail,
    ErrorInfo,
    JobRecord,
    Options,
    OutputChunk,
    Progress,
    QueueInfo,
    ScheduleInfo,
    StopNote,
    WorkerInfo,
)
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.core.page import PAGE_BYTES, Page
from conveyor.core.pending import Pending, run_sync
from conveyor.errors import UsageError
from conveyor.store.call_style import BlockingCalls
from conveyor.store.messages import Filter, Lease
from conveyor.store.page_walk import read_schedule
from conveyor.store.protocol import Store

MEGABYTE = 1_000_000
LARGE = b'{"x": "%b"}' % (b"y" * MEGABYTE)
ALL = sorted(DETAILS)

Read = Callable[[Any, int], Pending[Page[Any]]]


def large_jobs(store: Store) -> Read:
    put(store, *(new(args=LARGE) for _ in range(10)))
    return lambda after, limit: store.find(Filter(before=after), limit=limit, include=ALL)


def large_results(store: Store) -> Read:
    put(store, *(new() for _ in range(10)))
    for job in claim(store, 10):
        assert settle(store, job, Succeeded(LARGE))
    return lambda after, limit: store.find(Filter(before=after), limit=limit, include=["result"])


def large_options(store: Store) -> Read:
    meta = {"a": "y" * 16_000}
    put(store, *(new(meta=meta) for _ in range(600)))
    return lambda after, limit: store.find(Filter(before=after), limit=limit, include=["options"])


def large_progress(store: Store) -> Read:
    put(store, *(new() for _ in range(1000)))
    long = Progress(1.0, message="\U0001f40c" * 2000)
    jobs = [job for _ in range(2) for job in claim(store, 500)]
    store.set_progress([(Lease(job.id, job.lease), long) for job in jobs]).result()
    return lambda after, limit: store.find(Filter(before=after), limit=limit)


def large_steps(store: Store) -> Read:
    put(store, *(new() for _ in range(40)))
    steps = [StopNote(1.0, "y" * 2000)] * 100
    jobs = claim(store, 40)
    store.set_stopping([(Lease(job.id, job.lease), steps) for job in jobs]).result()
    return lambda after, limit: store.find(Filter(before=after), limit=limit, include=["stopping"])


def large_history(store: Store) -> Read:
    [job_id] = put(store, new(retries=100))
    error = ErrorInfo("E", "y" * 10_000, "y" * 50_000, ("y" * 500,) * 300)
    for _ in range(40):
        settle(store, claim(store)[0], Failed(error))
        store.retry(job_id).result()
    return lambda after, limit: store.history(job_id, after=after or 0, limit=limit)


def large_output(store: Store) -> Read:
    put(store)
    [job] = claim(store)
    for n in range(10):
        store.write_output([chunk(job, n * MEGABYTE, b"y" * MEGABYTE)]).result()
    return lambda after, limit: store.output(job.id, after=after or 0, limit=limit)


def many_tokens(store: Store) -> Read:
    queues = tuple(f"{each:04}" + "y" * 196 for each in range(300))
    for number in range(100):
        store.add_token(
            Token(
                id=f"abcdef{number:02}",
                name="n",
                digest="0" * 64,
                scopes=frozenset({"read"}),
                queues=queues,
                created_at=0.0,
            )
        ).result()
    return lambda after, limit: store.tokens(after=after or "", limit=limit)


def many_actions(store: Store) -> Read:
    line = Action(who="\U0001f40c" * 500, where="y" * 500, what="y" * 500, subject="y" * 500)
    store.note_action([line] * 1000).result()
    store.note_action([line] * 100).result()
    return lambda after, limit: store.actions(before=after, limit=limit)


def large_workers(store: Store) -> Read:
    for number in range(100):
        store.beat(worker(f"w{number:03}", "y" * 60_000)).result()
    return lambda after, limit: store.workers(after=after or "", limit=limit)


def worker(name: str, waits: str = "") -> WorkerInfo:
    return WorkerInfo(
        id=name,
        host="h",
        boot_id="b",
        pid=1,
        pid_started=0.0,
        started_at=0.0,
        slots=1,
        queues=("q",),
        waits={"job": waits},
    )


def chunk(job: JobRecord, offset: int, data: bytes) -> OutputChunk:
    return OutputChunk(
        job_id=job.id, lease=job.lease, offset=offset, stream="stdout", at=0.0, data=data
    )


def cursor(entry: Any) -> Any:
    if isinstance(entry, QueueInfo | ScheduleInfo):
        return entry.name
    return entry.id if isinstance(entry, Token | WorkerInfo) else entry.seq


def stored_bytes(entry: Any) -> int:
    """What its large fields take, as JSON or as they are."""
    match entry:
        case JobRecord():
            options = b"" if entry.options == NO_OPTIONS else msgspec.json.encode(entry.options)
            steps = msgspec.json.encode(entry.stopping) if entry.stopping else b""
            progress = msgspec.json.encode(entry.progress) if entry.progress else b""
            return sum(map(len, (entry.args, entry.result or b"", options, steps, progress)))
        case AttemptError():
            return len(msgspec.json.encode(entry.error))
        case OutputChunk():
            return len(entry.data)
        case Token():
            return sum(map(len, entry.queues))
        case WorkerInfo():
            return len(msgspec.json.encode(entry))
        case _:
            return len(entry.where + entry.what + entry.subject)


LISTS = [
    (large_jobs, 10),
    (large_results, 10),
    (large_options, 600),
    (large_progress, 1000),
    (large_steps, 40),
    (large_history, 40),
    (large_output, 10),
    (many_tokens, 100),
    (many_actions, 1100),
    (large_workers, 100),
]


def five_queues(store: Store) -> Read:
    put_in = [put(store, new(queue=f"q{number}")) for number in range(5)]
    assert len(put_in) == 5
    return lambda after, limit: store.counts(after=after or "", limit=limit)


def five_schedules(store: Store) -> Read:
    for number in range(5):
        rule = ScheduleInfo(
            name=f"s{number}", cron="@daily", timezone="UTC", missed="once", next_at=9.0
        )
        store.put_schedule(rule).result()
    return lambda after, limit: store.schedules(after=after or "", limit=limit)


@pytest.mark.parametrize(("make", "count"), LISTS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_page_has_a_bound_in_bytes_and_its_cursor_gives_every_entry_once(
    store: Store, make: Callable[[Store], Read], count: int
) -> None:
    read = make(store)
    pages: list[Page[Any]] = []
    after: Any = None
    while not pages or pages[-1].more:
        pages.append(read(after, 1000).result())
        assert pages[-1], "a page with more is never empty"
        after = cursor(pages[-1][-1])
    seen = [cursor(entry) for page in pages for entry in page]
    assert len(seen) == len(set(seen)) == count
    assert len(pages) > 1
    for page in pages:
        assert len(page) == 1 or sum(map(stored_bytes, page)) <= PAGE_BYTES
    for page, following in pairwise(pages):
        # It is not shorter than it has to be.
        size = sum(map(stored_bytes, [*page, following[0]])) + 1024 * (len(page) + 1)
        assert len(page) == 1000 or size > PAGE_BYTES


@pytest.mark.parametrize(
    ("make", "count"),
    [*LISTS, (five_queues, 5), (five_schedules, 5)],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_page_that_ends_with_the_list_says_that_it_is_the_last(
    store: Store, make: Callable[[Store], Read], count: int
) -> None:
    read = make(store)
    page = read(None, 1000).result()
    whole = list(page)
    while page.more:
        page = read(cursor(page[-1]), 1000).result()
        whole += page
    last = cursor(page[-1])
    before = cursor(whole[-3])
    assert read(before, 3).result() == whole[-2:]
    assert not read(before, 3).result().more
    assert not read(before, 2).result().more
    assert read(before, 1).result() == whole[-2:-1]
    assert read(before, 1).result().more
    empty = read(last, 1).result()
    assert (empty, empty.more) == ([], False)


def test_an_entry_that_is_larger_than_a_page_is_a_page_of_its_own(store: Store) -> None:
    huge = b'{"x": "%b"}' % (b"y" * (PAGE_BYTES + 1))
    # A server takes no arguments of this size, but may have them.
    kept = store.behind if isinstance(store, Served) else store
    small, large, other = put(kept, new(), new(args=huge), new())
    pages = []
    before = None
    for _ in range(3):
        pages.append(store.find(Filter(before=before), limit=9, include=ALL).result())
        before = pages[-1][-1].seq
    assert [[job.id for job in page] for page in pages] == [[other], [large], [small]]
    assert [page.more for page in pages] == [True, True, False]
    assert pages[1][0].args == huge


def test_a_list_of_jobs_leaves_out_what_is_large_unless_asked(store: Store) -> None:
    options = Options(retries=3, meta={"a": 1})
    put(store, msgspec.structs.replace(new(args=b'{"x": 1}'), options=options))
    [job] = claim(store)
    lease = Lease(job.id, job.lease)
    store.set_stopping([(lease, [StopNote(1.0, "SIGTERM")])]).result()
    store.set_progress([(lease, Progress(1.0))]).result()
    assert settle(store, job, Succeeded(b"7"))
    whole = store.get(job.id).result()
    assert whole.omitted == ()
    assert (whole.args, whole.result, whole.options) == (b'{"x": 1}', b"7", options)
    empty: dict[str, Any] = {"args": b"{}", "result": None, "options": NO_OPTIONS, "stopping": ()}
    asked: list[Collection[Detail]] = [[], ["args"], ["result"], ["options"], ["stopping", "args"]]
    for include in [*asked, ALL]:
        [listed] = store.find(Filter(), limit=1, include=include).result()
        omitted = tuple(name for name in ALL if name not in include)
        left_out = {name: empty[name] for name in omitted}
        assert listed == msgspec.structs.replace(whole, omitted=omitted, **left_out)


def test_a_list_of_large_jobs_without_their_details_has_every_job_once(store: Store) -> None:
    args = b'{"x": "%b"}' % (b"y" * MEGABYTE)
    ids = put(store, *(new(args=args) for _ in range(35)))
    ids += put(store, *(new(args=args) for _ in range(35)))
    pages = [store.find(Filter(), limit=1000).result()]
    while pages[-1].more:
        before = pages[-1][-1].seq
        pages.append(store.find(Filter(before=before), limit=1000).result())
    assert [job.id for page in pages for job in page] == ids[::-1]
    assert all(len(page) >= 60 for page in pages[:-1])


def test_a_detail_that_is_not_known_is_refused_over_http(store: Store) -> None:
    if store.is_server:
        wrong: Any = ["arguments"]
        with pytest.raises(UsageError, match="unknown detail 'arguments'; the details are args,"):
            store.find(Filter(), limit=1, include=wrong).result()


@pytest.mark.parametrize(
    "name", ["b", "\x01", "a\x01", "\ue000", "a\U0010ffff", "a\U0010ffff\U0010ffff", "ä", "aa"]
)
def test_one_schedule_is_found_among_many_without_reading_those_before_it(
    store: Store, name: str
) -> None:
    def put_schedule(name: str) -> None:
        rule = {"cron": "@daily", "timezone": "UTC", "missed": "skip", "next_at": 1.0}
        store.put_schedule(ScheduleInfo(name=name, **rule)).result()  # type: ignore[arg-type]

    for each in ("a", "aaa", *(f"a{number}" for number in range(20)), "z", "\uffff"):
        put_schedule(each)
    assert run_sync(read_schedule(BlockingCalls(), store, name)) is None
    put_schedule(name)
    found = run_sync(read_schedule(BlockingCalls(), store, name))
    assert found is not None
    assert found.name == name


def test_looking_for_one_schedule_asks_for_one_page(store: Store) -> None:
    asked: list[Any] = []

    class Asked:
        def schedules(self, **given: Any) -> Pending[Page[ScheduleInfo]]:
            asked.append(given)
            return store.schedules(**given)

    for number in range(20):
        rule = ScheduleInfo(
            name=f"s{number:02}", cron="@daily", timezone="UTC", missed="skip", next_at=1.0
        )
        store.put_schedule(rule).result()
    for name in ("s07", "s19", "s20", "s"):
        run_sync(read_schedule(BlockingCalls(), Asked(), name))  # type: ignore[arg-type]
    assert [given["limit"] for given in asked] == [1, 1, 1, 1]
