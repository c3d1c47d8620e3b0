"""A store with a job of every state and kind, and all that a store says about itself."""

from __future__ import annotations

import hashlib
from typing import Any

from calls import BROKEN, claim, data, new, put, settle

from conveyor.core.access import Action, Scope, Token
from conveyor.core.files import PIECE, FileInfo, InputFile
from conveyor.core.job import (
    DETAILS,
    Callback,
    ErrorInfo,
    Options,
    OutputChunk,
    Progress,
    ScheduleInfo,
    StopNote,
    TaskDefaults,
)
from conveyor.core.lifecycle import Cancelled, Failed, Snoozed, Succeeded, Unsupported
from conveyor.store.messages import Filter, Lease
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

CONTENT = bytes(range(256)) * (PIECE // 256) + b"and more than one piece"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
INPUT = InputFile(name="in put.bin", digest=DIGEST, size=len(CONTENT), executable=True)
ALERT = Callback(on="discarded", task="alert", parameter="ended", queue="callbacks")
AFTER = Callback(
    on="finished", task="after", parameter="ended", queue="ties", options=Options(requires=("gpu",))
)
STRANGE = "nul \0, substitute \x1a0, é and \N{PILE OF POO}"


def fill(store: Store, clock: FakeClock) -> None:
    """Leave jobs in all states, and everything else that a store keeps. No worker is alive then."""
    upload(store)
    put(store, *(new(queue="ties", priority=each % 3) for each in range(12)), capacity=20)
    put(store, new(queue="ties", delay=50.0, expires_at=clock.now() + 900), capacity=20)
    put(store, new(key="final"), new(key="pruned", key_until="pruned", delay=9000.0))
    put(
        store,
        new(queue="called", callbacks=(ALERT, AFTER)),
        new(queue="called", callbacks=(AFTER,)),
    )
    [ended] = claim(store, queue="called", lease_for=20.0)
    assert settle(store, ended, BROKEN)
    put(store, new(queue="gpu", requires=("gpu", "big"), meta={"a": STRANGE}))
    put(store, new(queue="paused", args=b'{"x": 1}', files=(INPUT,)))
    store.set_paused("paused", paused=True).result()
    run_some(store, clock)
    declare(store, clock)
    # The lease of the job that still runs has ended, and so has the leadership.
    clock.advance(100.0)


def upload(store: Store) -> None:
    """Store the content of a file, in pieces."""
    for offset in range(0, len(CONTENT), PIECE):
        piece = CONTENT[offset : offset + PIECE]
        last = offset + PIECE >= len(CONTENT)
        store.write_content(DIGEST, offset, piece, last=last).result()


def run_some(store: Store, clock: FakeClock) -> None:
    """Run jobs to every end there is, and leave one that runs."""
    outcomes = [
        *(Succeeded(b"[1]"), Succeeded(), BROKEN, Failed(ErrorInfo(STRANGE, STRANGE))),
        *(Failed(ErrorInfo("E", "no"), retry=False), Snoozed(30.0), Cancelled(STRANGE)),
        Unsupported(ErrorInfo("UnknownTaskError", "not here")),
    ]
    keys = ["kept", *[None] * 7]
    jobs = [
        new(
            id=f"run \x1a {number}",
            queue="run",
            retries=2,
            key=key,
            key_until="pruned",
            priority=-number,
        )
        for number, key in enumerate(keys)
    ]
    put(store, *jobs, new(queue="run", priority=-99))
    for outcome in outcomes:
        [job] = claim(store, queue="run", lease_for=20.0)
        write(store, job.id, job.lease)
        assert settle(store, job, outcome)
        clock.advance(0.25)
    [running] = claim(store, queue="run", lease_for=20.0)
    assert running.priority == -99
    write(store, running.id, running.lease)
    store.cancel(running.id, reason=STRANGE).result()
    store.cancel(put(store, new(queue="run"))[0], reason="not needed").result()
    # What only the totals of the queue remember.
    gone = put(store, new(queue="run"))[0]
    store.cancel(gone, reason="not needed").result()
    store.delete(gone).result()


def write(store: Store, job_id: str, number: int) -> None:
    """Do what a running job does."""
    lease = Lease(job_id, number)
    for offset, text in enumerate((b"first\0\xff", b"second")):
        chunk = OutputChunk(
            job_id=job_id, lease=number, offset=offset, stream="stdout", at=1.5, data=text
        )
        store.write_output([chunk]).result()
    store.set_progress([(lease, Progress(1, 2, STRANGE))]).result()
    store.set_stopping([(lease, [StopNote(1.0, "asked")])]).result()
    artifact = FileInfo(name="out/å.txt", digest=DIGEST, size=len(CONTENT), kind="artifact")
    assert store.attach(lease, artifact).result()


def declare(store: Store, clock: FakeClock) -> None:
    """Store what is not about jobs."""
    for name in ("hourly", "nightly"):
        rule = ScheduleInfo(
            name=name, cron="@daily", timezone="Europe/Berlin", missed="once", next_at=5000.0
        )
        store.put_schedule(rule).result()
    tick = [new(queue="ties", task="tick")]
    assert store.tick("hourly", due_at=5000.0, next_at=7000.0, jobs=tick).result()
    store.pause_schedule("nightly", paused=True).result()
    store.put_tasks([TaskDefaults(name="t", options=Options(retries=7))]).result()
    for name in ("one", "two"):
        store.add_token(
            Token(
                id=name,
                name=STRANGE[-5:],
                digest="0" * 64,
                scopes=frozenset[Scope]({"read"}),
                queues=("run",),
                created_at=clock.now(),
                expires_at=clock.now() + 1e6,
            )
        ).result()
    store.revoke_token("two").result()
    actions = [Action(who="me", where="h", what=f"w{number}", subject="q") for number in range(3)]
    store.note_action(actions).result()
    store.lead("scaler", "host:1", hold=5.0, note='{"machines": 3}').result()


def contents(store: Store) -> dict[str, Any]:
    """Return everything that a store says, but the numbers of its rows."""
    jobs = store.find(Filter(), limit=5000, include=DETAILS).result()
    ids = [job.id for job in jobs]
    artifacts = {each: store.files(each).result() for each in ids}
    digests = {file.digest for files in artifacts.values() for file in files}
    return without_seq(
        data(
            {
                "jobs": list(jobs),
                "history": [(each, list(store.history(each).result())) for each in ids],
                "output": [(each, list(store.output(each, limit=99).result())) for each in ids],
                "files": artifacts,
                "contents": {each: read_content(store, each) for each in sorted(digests)},
                "counts": list(store.counts().result()),
                "schedules": list(store.schedules().result()),
                "ticks": list(store.recent_jobs("hourly").result()),
                "task": store.task_defaults("t").result(),
                "tokens": list(store.tokens(limit=99).result()),
                "actions": list(store.actions(limit=99).result()),
                "leader": store.leader("scaler").result(),
                "found": [each for each in store.check().result() if "file" not in each],
            }
        )
    )


def read_content(store: Store, digest: str) -> str:
    """Return the SHA-256 of what is stored under a digest."""
    summed = hashlib.sha256()
    offset = 0
    while piece := store.read_content(digest, offset, PIECE).result():
        summed.update(piece)
        offset += len(piece)
    return summed.hexdigest()


def without_seq(answer: Any) -> Any:
    """Forget the numbers of rows, which are other ones in another store."""
    if isinstance(answer, dict):
        return {name: without_seq(value) for name, value in answer.items() if name != "seq"}
    return [without_seq(each) for each in answer] if isinstance(answer, list | tuple) else answer
