"""Transfers contents between files and a store in pieces, for blocking code and for coroutines.

An interrupted transfer resumes where it stopped: the store returns how much it has, and the length
of a partial file is what was downloaded.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from ...core.files import CONTENT_LIMIT, PIECE, FileInfo, InputFile
from ...errors import CorruptStoreError, UsageError
from ...system.file_threads import FileThreads
from ..call_style import CallStyle
from ..protocol_files import FileStore

BeforePiece = Callable[[], None]
Opener = Callable[[str], int]


def _continue() -> None:
    """Continue the transfer. Called before each piece; may raise to stop it."""


def _open(path: str) -> int:
    """Open a file for reading."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


async def upload_inputs(
    files: Mapping[str, str], *, store: FileStore, call_style: CallStyle, threads: FileThreads
) -> tuple[InputFile, ...]:
    """Upload a job's input files, paths by name; what the store already has is not sent."""
    sent: list[InputFile] = []
    for name, path in files.items():
        file = await call_style.wait_for(threads.run(partial(describe, name, path)))
        await upload(file, path, store=store, call_style=call_style, threads=threads)
        sent.append(file)
    return tuple(sent)


def describe(name: str, path: str, opener: Opener | None = None) -> InputFile:
    """Return a file's digest, size and mode; UsageError if it cannot be a job's file."""
    try:
        if opener is None and not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO could block forever
            raise UsageError(f"{path!r} is no regular file")
        with open((opener or _open)(path), "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_size > CONTENT_LIMIT:
                raise UsageError(
                    f"{path!r} has {found.st_size:,} bytes; a job's file has at most "
                    f"{CONTENT_LIMIT:,}"
                )
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"the file {path!r} cannot be read: {error}") from error
    executable = bool(found.st_mode & stat.S_IXUSR)
    return InputFile(name=name, digest=digest, size=found.st_size, executable=executable)


async def upload(
    file: InputFile | FileInfo,
    path: str,
    *,
    store: FileStore,
    call_style: CallStyle,
    threads: FileThreads,
    before_piece: BeforePiece = _continue,
    opener: Opener | None = None,
) -> None:
    """Upload a file's content unless the store has it; UsageError if the file has changed.

    `opener` returns a new descriptor of the file for its path.
    """
    for last_try in (False, True):
        try:
            state = await call_style.wait_for(store.content(file.digest))
            while not state.whole:
                before_piece()
                data = await call_style.wait_for(
                    threads.run(partial(_read, path, state.size, opener or _open))
                )
                last = not data or state.size + len(data) >= file.size
                state = await call_style.wait_for(
                    store.write_content(file.digest, state.size, data, last=last)
                )
        except UsageError as error:
            # The beginning in the store may come from a faulty upload by somebody else.
            if last_try:
                raise UsageError(f"{path!r} was changed while it was read: {error}") from error
        else:
            return


async def download(
    file: InputFile | FileInfo,
    path: str,
    *,
    store: FileStore,
    call_style: CallStyle,
    threads: FileThreads,
    before_piece: BeforePiece = _continue,
) -> None:
    """Download a file to `path`, completely or not at all; a file there is replaced at the end.

    Raises CorruptStoreError if the content does not have its digest.
    """
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name[:100]}.{file.digest[:16]}.part")
    offset = await call_style.wait_for(threads.run(partial(_length, part)))
    began_at = offset
    while offset < file.size:
        before_piece()
        data = await call_style.wait_for(store.read_content(file.digest, offset, PIECE))
        if not data:
            break
        await call_style.wait_for(threads.run(partial(_append, part, offset, data)))
        offset += len(data)
    finished = await call_style.wait_for(threads.run(partial(_finish, part, path, file)))
    if finished:
        return
    if not began_at:
        raise CorruptStoreError(
            f"the file {file.name!r} came out otherwise than it was written (SHA-256). "
            "Check the disk of the store."
        )
    # The partial file was damaged or of another content: start again, once.
    await download(
        file, path, store=store, call_style=call_style, threads=threads, before_piece=before_piece
    )


def _read(path: str, offset: int, opener: Opener) -> bytes:
    try:
        with open(opener(path), "rb", buffering=0) as file:
            return os.pread(file.fileno(), PIECE, offset)
    except OSError as error:
        raise UsageError(f"the file {path!r} cannot be read: {error}") from error


def _length(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def _append(path: str, offset: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    with open(descriptor, "wb") as file:
        file.seek(offset)
        file.write(data)


def _finish(part: str, path: str, file: InputFile | FileInfo) -> bool:
    if not file.size:
        _append(part, 0, b"")
    with open(part, "rb") as written:
        if hashlib.file_digest(written, "sha256").hexdigest() != file.digest:
            os.unlink(part)
            return False
    if file.executable:  # for everyone who may read it
        mode = os.stat(part).st_mode
        os.chmod(part, mode | (mode & 0o444) >> 2)
    os.replace(part, path)
    return True
