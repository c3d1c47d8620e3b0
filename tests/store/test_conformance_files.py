"""What every store promises about the files of jobs: contents in pieces, inputs, artifacts."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
import pytest
from calls import claim, new, offer, put, settle

from conveyor import NotFoundError, UsageError
from conveyor.core.files import CONTENT_LIMIT, FILES_LIMIT, PIECE, FileInfo, InputFile
from conveyor.core.job import FINAL
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Content, Lease, Offered
from conveyor.store.protocol import Store
from conveyor.store.protocol_files import UNUSED
from conveyor.testing import FakeClock

DATA = b"0123456789"
LATER = UNUSED + 1


def digest(data: bytes = DATA) -> str:
    return hashlib.sha256(data).hexdigest()


def write(store: Store, data: bytes = DATA) -> str:
    named = digest(data)
    assert store.write_content(named, 0, data, last=True).result() == Content(len(data), whole=True)
    return named


def there(store: Store, data: bytes = DATA) -> Content:
    return store.content(digest(data)).result()


def given(name: str = "in.txt", data: bytes = DATA, **more: object) -> InputFile:
    return InputFile(name=name, digest=digest(data), size=len(data), **more)  # type: ignore[arg-type]


def artifact(name: str = "out.txt", data: bytes = DATA) -> FileInfo:
    return FileInfo(name=name, digest=digest(data), size=len(data), kind="artifact")


def running(store: Store) -> Lease:
    put(store, new())
    [job] = claim(store)
    return Lease(job.id, job.lease)


# -- contents --------------------------------------------------------------------------------------


def test_a_content_is_written_in_pieces_and_read_in_others(store: Store) -> None:
    named = digest()
    assert there(store) == Content(0, whole=False)
    assert store.write_content(named, 0, DATA[:4], last=False).result() == Content(4, whole=False)
    assert there(store) == Content(4, whole=False)
    assert store.write_content(named, 4, DATA[4:], last=True).result() == Content(10, whole=True)
    assert there(store) == Content(10, whole=True)
    assert store.read_content(named, 0, 3).result() == DATA[:3]
    assert store.read_content(named, 3, PIECE).result() == DATA[3:]
    assert store.read_content(named, 10, 5).result() == b""


def test_an_empty_content_is_one_too(store: Store) -> None:
    named = write(store, b"")
    assert store.read_content(named, 0, 5).result() == b""


def test_a_piece_that_would_leave_a_hole_is_refused(store: Store) -> None:
    store.write_content(digest(), 0, DATA[:4], last=False).result()
    with pytest.raises(UsageError, match="leave a hole"):
        store.write_content(digest(), 5, DATA[5:], last=True).result()
    assert there(store) == Content(4, whole=False)


def test_what_is_there_already_may_be_sent_again(store: Store) -> None:
    named = digest()
    for _ in range(2):
        answer = store.write_content(named, 0, DATA[:4], last=False).result()
        assert answer == Content(4, whole=False)
    # As when the answer to a longer piece was lost.
    assert store.write_content(named, 2, DATA[2:6], last=False).result() == Content(6, whole=False)
    for _ in range(2):
        answer = store.write_content(named, 6, DATA[6:], last=True).result()
        assert answer == Content(10, whole=True)
    assert store.write_content(named, 0, b"xx", last=False).result() == Content(10, whole=True)
    assert store.read_content(named, 0, 99).result() == DATA


def test_what_does_not_fit_its_digest_is_thrown_away(store: Store) -> None:
    with pytest.raises(UsageError, match="thrown away"):
        store.write_content(digest(), 0, b"something else", last=True).result()
    assert there(store) == Content(0, whole=False)
    write(store)


def test_what_is_not_wholly_there_cannot_be_read(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.read_content(digest(), 0, 5).result()
    store.write_content(digest(), 0, DATA[:4], last=False).result()
    with pytest.raises(NotFoundError):
        store.read_content(digest(), 0, 4).result()


@pytest.mark.parametrize("name", ["", "x" * 64, "../" * 21 + "a", "A" * 64, "a" * 63])
def test_a_content_has_no_other_name_than_its_digest(store: Store, name: str) -> None:
    for call in (
        lambda: store.content(name),
        lambda: store.write_content(name, 0, b"", last=True),
        lambda: store.read_content(name, 0, 1),
    ):
        with pytest.raises(UsageError):
            call().result()


def test_a_piece_has_a_limit(store: Store) -> None:
    with pytest.raises(UsageError, match="a piece"):
        store.write_content(digest(), 0, bytes(PIECE + 1), last=False).result()
    with pytest.raises(UsageError, match="a piece"):
        store.read_content(write(store), 0, PIECE + 1).result()
    with pytest.raises(UsageError, match="0 or more bytes, got -1"):
        store.read_content(digest(), 0, -1).result()
    with pytest.raises(UsageError, match="at most"):
        store.read_content(write(store), CONTENT_LIMIT + 1, 1).result()
    with pytest.raises(UsageError, match="at most"):
        store.write_content(digest(b"x"), -1, b"", last=False).result()


def test_beyond_the_end_of_a_content_there_is_nothing_to_read(store: Store) -> None:
    written = write(store)
    for offset in (PIECE, CONTENT_LIMIT - 1, CONTENT_LIMIT):
        assert store.read_content(written, offset, PIECE).result() == b""


def test_coroutines_write_and_read_too(store: Store) -> None:
    async def work() -> None:
        assert await store.write_content(digest(), 0, DATA, last=True) == Content(10, whole=True)
        assert await store.content(digest()) == Content(10, whole=True)
        assert await store.read_content(digest(), 2, 3) == DATA[2:5]
        await store.insert([new(id="async", files=(given(),))])
        assert [file.name for file in await store.files("async")] == ["in.txt"]

    asyncio.run(work())


# -- inputs ----------------------------------------------------------------------------------------


def test_a_job_keeps_its_inputs(store: Store) -> None:
    write(store)
    files = (given("b.txt"), given("a.sh", executable=True))
    [job_id] = put(store, new(files=files))
    assert store.get(job_id).result().options.files == files
    [job] = claim(store)
    assert job.options.files == files
    assert store.files(job_id).result() == [
        FileInfo(name="a.sh", digest=digest(), size=10, kind="input", executable=True),
        FileInfo(name="b.txt", digest=digest(), size=10, kind="input"),
    ]


def test_a_job_whose_input_is_not_wholly_there_is_refused(store: Store) -> None:
    jobs = [new(), new(files=(given(),))]
    with pytest.raises(UsageError, match=r"in\.txt"):
        store.insert(jobs).result()
    store.write_content(digest(), 0, DATA[:4], last=False).result()
    with pytest.raises(UsageError, match=r"in\.txt"):
        store.insert(jobs).result()
    store.write_content(digest(), 4, DATA[4:], last=True).result()
    wrong = InputFile(name="in.txt", digest=digest(), size=11)
    with pytest.raises(UsageError, match=r"in\.txt"):
        store.insert([new(files=(wrong,))]).result()
    assert len(put(store, *jobs)) == 2


def test_a_job_that_was_kept_out_by_its_key_adds_no_files(store: Store) -> None:
    write(store)
    [job_id] = put(store, new(key="k"))
    assert put(store, new(key="k", files=(given(),))) == [job_id]
    assert store.files(job_id).result() == []


def test_the_files_of_no_job_are_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.files("nobody").result()


# -- artifacts -------------------------------------------------------------------------------------


def test_an_artifact_is_kept_under_the_lease_of_its_job(store: Store) -> None:
    lease = running(store)
    write(store)
    assert store.attach(lease, artifact("z.txt")).result()
    assert store.attach(lease, artifact("a/b.txt")).result()
    found = store.files(lease.id).result()
    assert [(file.name, file.kind, file.lease) for file in found] == [
        ("a/b.txt", "artifact", lease.lease),
        ("z.txt", "artifact", lease.lease),
    ]


def test_an_artifact_of_the_same_name_replaces_the_older_one(store: Store) -> None:
    lease = running(store)
    write(store)
    write(store, b"newer")
    assert store.attach(lease, artifact()).result()
    assert store.attach(lease, artifact(data=b"newer")).result()
    [file] = store.files(lease.id).result()
    assert (file.digest, file.size) == (digest(b"newer"), 5)


def test_an_artifact_under_a_stale_lease_is_refused(store: Store) -> None:
    lease = running(store)
    write(store)
    assert not store.attach(Lease(lease.id, lease.lease - 1), artifact()).result()
    assert not store.attach(Lease("nobody", 1), artifact()).result()
    assert settle(store, store.get(lease.id).result(), Succeeded())
    assert not store.attach(lease, artifact()).result()
    assert store.files(lease.id).result() == []


def test_an_artifact_whose_content_is_not_there_is_refused(store: Store) -> None:
    lease = running(store)
    with pytest.raises(UsageError, match="is not stored"):
        store.attach(lease, artifact()).result()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "x" * 201])
def test_an_artifact_has_a_name_within_its_folder(store: Store, name: str) -> None:
    lease = running(store)
    write(store)
    with pytest.raises(UsageError):
        store.attach(lease, artifact(name)).result()


@pytest.mark.parametrize("wrong", [{"digest": "../" * 21 + "x"}, {"size": -1}, {"size": 1 << 40}])
def test_an_artifact_has_a_digest_and_a_size(store: Store, wrong: dict[str, object]) -> None:
    write(store)
    lease = running(store)
    with pytest.raises(UsageError):
        store.attach(lease, msgspec.structs.replace(artifact(), **wrong)).result()  # type: ignore[arg-type]
    assert store.files(lease.id).result() == []


def test_a_job_has_so_many_artifacts_and_no_more(store: Store) -> None:
    lease = running(store)
    write(store)
    for number in range(FILES_LIMIT):
        assert store.attach(lease, artifact(f"{number}")).result()
    with pytest.raises(UsageError, match="can have no more"):
        store.attach(lease, artifact("one more")).result()
    assert store.attach(lease, artifact("0")).result()


# -- what nobody needs -----------------------------------------------------------------------------


def test_files_go_with_their_job_and_contents_when_nobody_needs_them(
    store: Store, clock: FakeClock
) -> None:
    write(store)
    write(store, b"made")
    [first, second] = put(store, new(files=(given(),)), new(files=(given(),)))
    jobs = claim(store, 2)
    assert store.attach(Lease(first, 1), artifact(data=b"made")).result()
    for job in jobs:
        assert settle(store, job, Succeeded())
    store.delete(first).result()
    with pytest.raises(NotFoundError):
        store.files(first).result()
    clock.advance(LATER)
    assert store.sweep_contents(limit=9).result() == 1
    assert there(store).whole
    assert not there(store, b"made").whole
    clock.advance(LATER)
    assert store.prune(dict.fromkeys(FINAL, 0.0), limit=9).result() == 1
    assert store.sweep_contents(limit=9).result() == 1
    assert there(store) == Content(0, whole=False)
    with pytest.raises(NotFoundError):
        store.files(second).result()


def test_a_content_stays_for_an_hour_after_it_was_last_asked_for(
    store: Store, clock: FakeClock
) -> None:
    write(store)
    store.write_content(digest(b"abc"), 0, b"a", last=False).result()
    clock.advance(UNUSED - 1)
    assert there(store).whole
    clock.advance(2)
    assert store.sweep_contents(limit=9).result() == 1
    assert there(store).whole
    assert there(store, b"abc") == Content(0, whole=False)


def test_a_job_in_its_producers_hands_needs_its_inputs(store: Store, clock: FakeClock) -> None:
    write(store)
    put(store, new(), capacity=1)
    waiting = offer(store, new(files=(given(),)), capacity=1)
    assert isinstance(waiting, Offered)
    for _ in range(int(LATER) // 4 + 1):
        clock.advance(4)
        assert store.accepted(waiting.offer).result() is None
    assert store.sweep_contents(limit=9).result() == 0
    store.withdraw(waiting.offer).result()
    clock.advance(LATER)
    assert store.sweep_contents(limit=9).result() == 1


def test_a_sweep_has_a_limit(store: Store, clock: FakeClock) -> None:
    for number in range(3):
        write(store, str(number).encode())
    clock.advance(LATER)
    assert store.sweep_contents(limit=2).result() == 2
    assert store.sweep_contents(limit=2).result() == 1
    assert store.sweep_contents(limit=2).result() == 0
