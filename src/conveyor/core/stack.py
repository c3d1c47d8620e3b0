"""What a running job does right now: the frames of its code, or the processes of its command."""

from __future__ import annotations

import msgspec

from .task import Kind

# The most of a dump that is kept; a larger one is cut, and its note says so.
MAX_FRAMES, MAX_PROCESSES, MAX_TEXT = 200, 200, 500
# How long, in seconds, a request is kept, and how many can be open in a store.
KEPT, MAX_REQUESTS = 3600.0, 1000


class Frame(msgspec.Struct, frozen=True):
    """One call: its file, line and function, and the text of the line.

    `own` is false for the standard library and for installed packages.
    """

    file: str
    line: int
    function: str
    code: str = ""
    own: bool = True


class ProcessState(msgspec.Struct, frozen=True):
    """One process: its command line, its state as one letter of ps(1), and its memory in bytes."""

    pid: int
    parent: int
    command: str
    state: str
    rss: int


class StackDump(msgspec.Struct, frozen=True, kw_only=True):
    """What one job did when it was looked at.

    `frames` begin with the outermost call. `processes` begin with the job's own one; those of a
    command, and of a process job. `note` says what could not be seen.
    """

    kind: Kind
    frames: tuple[Frame, ...] = ()
    processes: tuple[ProcessState, ...] = ()
    note: str = ""


class StackAnswer(msgspec.Struct, frozen=True):
    """A request for a dump, when it was made, in Unix seconds, and the dump, once it is there."""

    asked_at: float
    taken_at: float | None = None
    dump: StackDump | None = None


def bounded_dump(dump: StackDump) -> StackDump:
    """Return a dump as it is stored: its texts cut, and of many frames the innermost."""
    notes = [_cut(dump.note)] if dump.note else []
    if len(dump.frames) > MAX_FRAMES:
        notes.append(f"the innermost {MAX_FRAMES} of {len(dump.frames):,} frames")
    if len(dump.processes) > MAX_PROCESSES:
        notes.append(f"the first {MAX_PROCESSES} of {len(dump.processes):,} processes")
    return StackDump(
        kind=dump.kind,
        frames=tuple(map(_bounded_frame, dump.frames[-MAX_FRAMES:])),
        processes=tuple(map(_bounded_process, dump.processes[:MAX_PROCESSES])),
        note="; ".join(notes),
    )


def _bounded_frame(frame: Frame) -> Frame:
    return Frame(_cut(frame.file), frame.line, _cut(frame.function), _cut(frame.code), frame.own)


def _bounded_process(process: ProcessState) -> ProcessState:
    return msgspec.structs.replace(process, command=_cut(process.command), state=process.state[:1])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
