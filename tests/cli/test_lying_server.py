"""A server that lies makes a client write, keep, do and wait no more than it was told to."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lying_server import Answer, LyingServer, as_json
from shell import Command

from conveyor.core.files import PIECE
from conveyor.core.job import NewJob
from conveyor.core.lifecycle import Interrupted
from conveyor.errors import UnavailableError, UsageError
from conveyor.store.http.blocking_client import receive
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Claimant, Filter, Lease, Report, Want

DATA = b"0123456789"
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = {
    "seq": 1, "id": "job", "task": "t", "queue": "q", "args": {}, "state": "completed",
    "priority": 0, "run_at": 1.0, "enqueued_at": 1.0,
}  # fmt: skip

LONG = "x" * 100_000

Lie = Callable[..., str]


def file(name: str = "out.txt", digest: str = DIGEST, size: int = len(DATA)) -> dict[str, Any]:
    return {"name": name, "digest": digest, "size": size, "kind": "artifact", "executable": True}


@pytest.fixture
def lie(folder: Path) -> Iterator[Lie]:
    """Start a server with a job that has these files; `content` answers for every digest."""
    assert folder.exists()
    servers: list[LyingServer] = []

    def start(*files: dict[str, Any], content: Answer | None = None) -> str:
        def answer(path: str, query: dict[str, str]) -> Answer | None:
            if path == "/jobs/job":
                return as_json(JOB)
            if path == "/jobs/job/files":
                return as_json(files)
            if path.endswith("/bytes"):
                begin = int(query.get("offset", 0))
                return content or Answer(DATA[begin : begin + int(query.get("limit", PIECE))])
            return None

        servers.append(LyingServer(answer))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


def refused(conveyor: Command, url: str, *names: str) -> str:
    """Get artifacts into a directory; return the one line that says why that fails."""
    before = {each for each in Path.cwd().rglob("*") if not each.is_dir()}
    ran = conveyor("artifacts", "job", "get", *names, "-o", "out", "--url", url)
    assert ran.code != 0
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert {each for each in Path.cwd().rglob("*") if not each.is_dir()} == before
    return ran.err


def test_an_honest_server_is_believed(conveyor: Command, lie: Lie, folder: Path) -> None:
    url = lie(file(), file("a/b.txt"))
    assert conveyor("artifacts", "job", "get", "-o", "out", "--url", url).code == 0
    assert (folder / "out/out.txt").read_bytes() == (folder / "out/a/b.txt").read_bytes() == DATA
    assert sorted(each.name for each in (folder / "out").rglob("*")) == ["a", "b.txt", "out.txt"]


@pytest.mark.parametrize("name", ["/tmp/x", "../x", "a/../../x", "a\0b", "", "x" * 201])
def test_a_name_that_leads_elsewhere_is_refused(conveyor: Command, lie: Lie, name: str) -> None:
    url = lie(file("good.txt"), file(name))
    assert "a file that no job can have: a file name must be" in refused(conveyor, url)


@pytest.mark.parametrize("digest", ["../../../../evil", "/" * 64, "..%2f" * 12 + "abcd", ""])
def test_a_digest_that_is_a_path_is_refused(conveyor: Command, lie: Lie, digest: str) -> None:
    url = lie(file(digest=digest))
    assert "is not a lowercase hexadecimal SHA-256 digest" in refused(conveyor, url, "out.txt")


@pytest.mark.parametrize("size", [-1, (4 << 30) + 1, 1 << 62])
def test_an_impossible_size_is_refused(conveyor: Command, lie: Lie, size: int) -> None:
    assert "can have 0 to 4,294,967,296 bytes" in refused(conveyor, lie(file(size=size)))


def test_two_files_of_one_name_are_refused(conveyor: Command, lie: Lie) -> None:
    assert "same name 'out.txt'" in refused(conveyor, lie(file(), file()))
    assert "both a file and the directory" in refused(conveyor, lie(file("a"), file("a/b")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Answer(DATA[:-1]), "sent 9 bytes instead of 10"),
        (Answer(b""), "sent 0 bytes instead of 10"),
        (Answer(DATA + b"x"), "more than 10 bytes"),
        (Answer(itertools.repeat(bytes(PIECE))), "more than 10 bytes"),
        (
            Answer(gzip.compress(bytes(64 * PIECE)), headers={"Content-Encoding": "gzip"}),
            "more than 10 bytes",
        ),
        (Answer(b"9876543210"), "came out otherwise than it was written (SHA-256)"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), "answered with status 302"),
        (Answer(b"[" * 100_000, 404), "answered with status 404"),
        (Answer(itertools.repeat(bytes(PIECE)), 500), "more than 1,048,576 bytes"),
    ],
    ids=["fewer", "none", "more", "endless", "bomb", "others", "redirect", "deep", "endless error"],
)
def test_a_content_that_is_not_what_was_announced_is_not_kept(
    conveyor: Command, lie: Lie, content: Answer, said: str
) -> None:
    assert said in refused(conveyor, lie(file(), content=content), "out.txt")


def test_a_larger_size_than_the_content_has_costs_one_call(conveyor: Command, lie: Lie) -> None:
    assert "sent 10 bytes instead of 1,048,576" in refused(conveyor, lie(file(size=4 << 30)))


def test_no_file_is_written_through_a_link(conveyor: Command, lie: Lie, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "out/a").symlink_to(folder / "elsewhere")
    assert "No part of it may be a file or a link" in refused(conveyor, lie(file("a/b.txt")))
    assert list((folder / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_a_partial_file_that_somebody_else_has_put_there_is_not_written(
    conveyor: Command, lie: Lie, folder: Path, kind: str
) -> None:
    (folder / "out").mkdir()
    (folder / "victim").write_text("mine")
    part = folder / "out" / f".out.txt.{DIGEST[:16]}.part"
    match kind:
        case "link":
            part.symlink_to(folder / "victim")
        case "hard link":
            part.hardlink_to(folder / "victim")
        case _:
            os.mkfifo(part)
    assert "cannot be written" in refused(conveyor, lie(file()))
    assert (folder / "victim").read_text() == "mine"


def test_exec_downloads_only_what_it_asked_for(conveyor: Command, folder: Path) -> None:
    assert folder.exists()

    def answer(path: str, query: dict[str, str]) -> Answer | None:
        if path.endswith("/bytes"):
            return Answer(DATA)
        return {
            "/server": as_json({"version": "1", "now": 1.0, "lease_for": 60, "hold": 1, "beat": 1}),
            "/queues/exec/jobs": as_json({"accepted": {"ids": ["job"]}}),
            "/jobs/job": as_json({**JOB, "result": {"exit_code": 0}}),
            "/jobs/job/files": as_json(files),
            "/jobs/job/output": as_json([]),
            "/workers": as_json([]),
        }.get(path)

    server = LyingServer(answer)
    command = ("exec", "--url", server.url, "--require", "gpu", "--artifact", "*.txt", "true")
    files = [file("out.txt")]
    assert conveyor(*command).code == 0
    assert (folder / "out.txt").read_bytes() == DATA
    (folder / "out.txt").unlink()
    files.append(file(".git/hooks/post-checkout"))
    ran = conveyor(*command)
    server.close()
    assert ran.code == 1
    assert "'.git/hooks/post-checkout' matches no --artifact, so nothing is downloaded" in ran.err
    assert [each.name for each in folder.iterdir()] == ["app.py"]


def test_an_answer_that_is_too_deep_is_one_clear_line(conveyor: Command, folder: Path) -> None:
    assert folder.exists()
    deep = b'{"seq":1,"options":{"meta":{"a":' + b"[" * 100_000
    server = LyingServer(lambda _path, _query: Answer(deep))
    ran = conveyor("show", "job", "--url", server.url)
    server.close()
    assert (ran.code, len(ran.err.splitlines())) == (4, 1), ran
    assert "that this version cannot read" in ran.err


def test_a_token_is_not_sent_where_a_redirect_leads() -> None:
    other = LyingServer(lambda _path, _query: as_json(JOB))
    location = {"Location": f"{other.url}/api/v1/jobs/job", "Content-Length": "0"}
    server = LyingServer(lambda _path, _query: Answer(b"", 307, location))
    store = HttpStore(server.url, token="secret")
    for call in (store.get("job"), store.insert([NewJob(id="job", task="t")]), store.counts()):
        with pytest.raises(UnavailableError, match="answered with status 307"):
            call.result(10)
    assert len(server.asked) == 3
    assert other.asked == []
    store.close()
    server.close()
    other.close()


@pytest.mark.parametrize("command", [("logs", "job"), ("show", "job"), ("ps", "--limit", "1000")])
def test_a_list_that_repeats_itself_ends(
    command: Sequence[str], conveyor: Command, folder: Path
) -> None:
    assert folder.exists()
    chunk = {"job_id": "job", "lease": 1, "offset": 0, "stream": "stdout", "at": 1, "data": "eA=="}
    error = {"type": "E", "message": "m"}
    attempt = {"attempt": 1, "at": 1.0, "worker": None, "became": "retryable", "error": error}
    lists = {"/jobs/job/output": chunk, "/jobs/job/history": attempt, "/jobs": JOB}

    def answer(path: str, _query: dict[str, str]) -> Answer | None:
        if path in lists:
            return as_json([{**lists[path], "seq": 1}], Next_Cursor="1")
        return as_json(JOB) if path == "/jobs/job" else None

    server = LyingServer(answer)
    ran = conveyor(*command, "--url", server.url)
    server.close()
    assert ran.code != 0
    assert "the store repeats" in ran.err


def test_an_empty_page_that_does_not_get_on_is_the_last_one_whatever_a_server_says() -> None:
    server = LyingServer(lambda _path, _query: as_json([], Next_Cursor="5"))
    store = HttpStore(server.url)
    page = store.find(Filter(), limit=9).result(10)
    assert (page, page.more, page.next) == ([], True, 5)
    assert not store.find(Filter(before=5), limit=9).result(10).more
    store.close()
    server.close()


def test_a_blocking_call_has_a_limit_of_bytes_and_of_time() -> None:
    for limits, error, said in (
        ({"timeout": 0.0}, TimeoutError, "no response in time"),
        ({"limit": 500}, UnavailableError, "more than 500 bytes"),
    ):
        ours, theirs = socket.socketpair()
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(900))
        with pytest.raises(error, match=said):
            receive(ours, "url", **limits)  # type: ignore[arg-type]
        ours.close()
        theirs.close()


TERMS = {"version": "1", "now": 1.0, "lease_for": 60.0, "hold": 25.0, "beat": 15.0}
LEASE = Lease("job", 1)
RENEWAL = {"id": "job", "verdict": "cancel"}


@pytest.fixture
def told() -> Iterator[Callable[[str, Any], HttpStore]]:
    """Return a store whose server answers calls of a path with one value."""
    with ExitStack() as stack:

        def start(path: str, value: Any) -> HttpStore:
            server = LyingServer(lambda asked, _: as_json(value) if asked == path else None)
            stack.callback(server.close)
            store = HttpStore(server.url)
            stack.callback(store.close)
            return store

        yield start


def test_terms_that_make_sense_are_believed(told: Callable[[str, Any], HttpStore]) -> None:
    assert told("/server", TERMS).terms(repeats=False).result(60).lease_for == 60.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("lease_for", "hold", "beat") for value in (0, -1, 1e9)),
        ("now", -1),
        ("now", 1e15),
        ("version", "x" * 1000),
        ("token", "x" * 1000),
    ],
)
def test_terms_that_no_agent_can_keep_are_refused(
    told: Callable[[str, Any], HttpStore], field: str, value: Any
) -> None:
    store = told("/server", {**TERMS, field: value})
    with pytest.raises(UnavailableError, match="an answer to terms that cannot be true") as lie:
        store.terms(repeats=False).result(60)
    assert len(str(lie.value)) < 1000


LARGE_NUMBER = 10**30
LIES: list[tuple[str, Any, Callable[[HttpStore], Any], str]] = [
    (
        "/workers/w/exchange",
        {"settled": [], "jobs": [JOB] * 3},
        lambda store: store.claim([Want("q", 2)], Claimant("w"), limit=2),
        "3 jobs, and at most 2 were asked for",
    ),
    (
        "/reports",
        {"settled": ["job"] * 2, "jobs": []},
        lambda store: store.settle([Report("job", 1, Interrupted())]),
        "2 settled reports, and at most 1 were asked for",
    ),
    (
        "/reports",
        {"settled": [], "jobs": [JOB]},
        lambda store: store.settle([Report("job", 1, Interrupted())]),
        "1 jobs, and at most 0 were asked for",
    ),
    (
        "/queues/q/jobs",
        {"accepted": {"ids": ["a", "b"]}},
        lambda store: store.insert([NewJob(id="a", task="t", queue="q")]),
        "2 ids for 1 jobs",
    ),
    (
        "/queues/q/jobs",
        {"accepted": {"ids": ["a" * 1000]}},
        lambda store: store.insert([NewJob(id="a", task="t", queue="q")]),
        "an id has more than 200 characters",
    ),
    ("/jobs", [JOB] * 3, lambda store: store.find(Filter(), limit=2), "3 entries, and at most 2"),
    (
        "/leases/extend",
        [RENEWAL] * 2,
        lambda store: store.extend([LEASE], lease_for=60.0),
        "2 entries, and at most 1",
    ),
    ("/jobs/job/ahead", "x" * (1 << 20), lambda store: store.ahead("job"), "1,048,576 bytes"),
]


@pytest.mark.parametrize(("path", "value", "ask", "said"), LIES)
def test_an_answer_with_more_than_was_asked_for_is_refused(
    told: Callable[[str, Any], HttpStore],
    path: str,
    value: Any,
    ask: Callable[[HttpStore], Any],
    said: str,
) -> None:
    with pytest.raises(UnavailableError, match=said):
        ask(told(path, value)).result(60)


def test_a_job_with_impossible_numbers_is_damaged(told: Callable[[str, Any], HttpStore]) -> None:
    for field, value in (("lease", LARGE_NUMBER), ("crashes", -1), ("priority", -LARGE_NUMBER)):
        job = told("/jobs/job", {**JOB, field: value}).get("job").result(60)
        assert "its numbers are not those of a job" in job.damage


def test_long_texts_of_a_server_are_cut(told: Callable[[str, Any], HttpStore]) -> None:
    store = told("/leases/extend", [{**RENEWAL, "reason": "x" * 100_000}])
    [renewal] = store.extend([LEASE], lease_for=60.0).result(60)
    assert len(renewal.reason) == 2000
    problem = json.dumps({"type": "", "title": "", "status": 400, "code": "usage", "detail": LONG})
    server = LyingServer(lambda _path, _query: Answer(problem.encode(), 400))
    refusing = HttpStore(server.url)
    with pytest.raises(UsageError) as refused:
        refusing.get("job").result(60)
    refusing.close()
    server.close()
    assert len(str(refused.value)) == 10_000


def test_a_server_that_holds_no_claim_is_asked_with_pauses() -> None:
    asked_at: list[float] = []
    thrice = threading.Event()

    def answer(path: str, _query: dict[str, str]) -> Answer:
        if path.endswith("/claim"):
            asked_at.append(time.monotonic())
            if len(asked_at) == 3:
                thrice.set()
        return as_json({"settled": [], "jobs": []})

    server = LyingServer(answer)
    store = HttpStore(server.url)
    assert store.claim([Want("q", 1)], Claimant("w"), limit=1).result(60).jobs == ()
    assert thrice.wait(60)
    store.close()
    server.close()
    assert asked_at[2] - asked_at[0] > 0.1, "two pauses, the second one longer"
