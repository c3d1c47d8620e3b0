"""A store in which every text is an attack on a terminal, and commands that show it.

As a program: runs commands one after the other on its own terminal; `--unescaped` is the known-bad
control, in which nothing is escaped.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

from conveyor import Conveyor
from conveyor.autoscaler.config import DEFAULT_NAME
from conveyor.autoscaler.plan import PoolCounts
from conveyor.autoscaler.state import EMPTY_STATE
from conveyor.autoscaler.status import ScalerEvent, ScalerNote, ScalerStatus, encode_note
from conveyor.cli.main import run
from conveyor.core import foreign_text
from conveyor.core.access import Action, Token
from conveyor.core.files import FileInfo
from conveyor.core.fingerprint import fingerprint
from conveyor.core.job import (
    ErrorInfo,
    NewJob,
    Options,
    OutputChunk,
    Progress,
    ScheduleInfo,
    StopNote,
    WorkerInfo,
)
from conveyor.core.lifecycle import Failed
from conveyor.store.messages import Claimant, Lease, Report, Want
from conveyor.store.protocol import Store

# A title, the clipboard, a colour, a cleared screen, forged lines, bidi, C1, DEL, markup of rich,
# an invisible character, a tag character, a flood of marks, and wide letters.
EVIL = (
    "x\x1b]0;title\a\x1b]52;c;QQ==\x1b\\\x1b[38;5;199m\x1b[2J\rfirst\b\nsecond\tthird\x0b\u2028"
    "\u202e\x9b1m\x85\x7f[bold]y[/bold][link=http://e]z[/link]\u200b\U000e0041e" + "\u0301" * 30
) + "日本"
FILE = "x\x1b]0;title\a\x1b[38;5;199m\x1b[2J\r\n\u202e\x9b1m"
OUTPUT = EVIL.replace("\x1b[38;5;199m", "").encode() + b"\xff\xc3\x1b["
CONTENT = b"x"
ERROR = ErrorInfo(EVIL, EVIL, traceback=f"Traceback\n  {EVIL}\n{EVIL}")
# Of the group of failures that the error is in.
FINGERPRINT = fingerprint(ERROR)


def fill(belt: Conveyor) -> None:
    """Store jobs, a worker, a schedule, a token, an action and a scaler, all of them hostile."""
    store = belt.store
    options = Options(retries=0)
    for name in ("evil-job", "failed-job", "waiting-job"):
        store.insert([NewJob(id=name, task=EVIL, queue=EVIL, options=options)]).result()
    claimed = store.claim([Want(EVIL, 2)], Claimant(EVIL, 3600.0), limit=2).result().jobs
    leases = {job.id: Lease(job.id, job.lease) for job in claimed}
    running, failed = leases["evil-job"], leases["failed-job"]
    for lease in (running, failed):
        store.write_output(
            [
                OutputChunk(
                    job_id=lease.id, lease=lease.lease, offset=0, stream="stdout", at=0.0,
                    data=OUTPUT,
                )
            ]
        ).result()  # fmt: skip
    store.write_content(sha256(CONTENT).hexdigest(), 0, CONTENT, last=True).result()
    store.attach(
        running, FileInfo(name=FILE, digest=sha256(CONTENT).hexdigest(), size=1, kind="artifact")
    ).result()
    store.settle([Report("failed-job", failed.lease, Failed(ERROR))]).result()
    store.set_progress([(running, Progress(1, 2, EVIL))]).result()
    store.set_stopping([(running, [StopNote(1000.0, EVIL)])]).result()
    store.cancel("evil-job", reason=EVIL).result()
    _fill_lists(store)


def _fill_lists(store: Store) -> None:
    worker = WorkerInfo(
        id=EVIL, host=EVIL, boot_id="", pid=1, pid_started=0.0, started_at=0.0, slots=1,
        queues=(EVIL,), labels=(EVIL,), sick={"command": EVIL}, unsupported={EVIL: 1},
        waits={"evil-job": EVIL}, release=EVIL,
    )  # fmt: skip
    store.beat(worker).result()
    store.put_schedule(
        ScheduleInfo(name=EVIL, cron="0 0 * * *", timezone="UTC", missed="skip", next_at=4e9)
    ).result()
    token = Token(
        id="evil1234", name=EVIL[:100], digest="0" * 64, scopes=frozenset({"read"}), queues=(EVIL,),
        created_at=0.0,
    )  # fmt: skip
    store.add_token(token).result()
    store.note_action([Action(who=EVIL, where=EVIL, what=EVIL, subject=EVIL, detail=EVIL)]).result()
    status = ScalerStatus(
        at=store.now(), every=1.0, pools=(PoolCounts(pool=EVIL, wanted=1),), held=(EVIL,),
        blind={EVIL: EVIL}, events=(ScalerEvent(at=1.0, did="start", subject=EVIL, why=EVIL),),
    )  # fmt: skip
    note = encode_note(ScalerNote(status, EMPTY_STATE))
    for name in (DEFAULT_NAME, EVIL):
        store.lead(name, EVIL, hold=3600, note=note).result()


def main() -> None:
    """Run the commands in the file that the first argument names; a line before each names it."""
    calls: list[list[str]] = json.loads(Path(sys.argv[1]).read_text())
    if "--unescaped" in sys.argv:
        foreign_text.UNSAFE = foreign_text.INVISIBLE = foreign_text.JOINERS = frozenset()
        foreign_text.MOST_MARKS = 1000
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number, args in enumerate(calls):
        print(f"=== {number}", flush=True)
        print(f"--- {run(args)}", flush=True)


if __name__ == "__main__":
    main()
