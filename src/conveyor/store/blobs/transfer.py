"""Transfers contents between files and a store in pieces, for blocking code and for coroutines.

An interrupted transfer resumes where it stopped: the store returns how much it has, and the length
of a partial file is what was downloaded. Whatever the store sends, a download writes no more bytes
than were announced, and keeps them only if their SHA-256 is the digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from ...core.files import CONTENT_LIMIT, PIECE, FileInfo, InputFile, checked_content
from ...errors import CorruptStoreError, UnavailableError, UsageError
from ...system.file_threads import FileThreads
from ..call_style import CallStyle
from ..protocol_files import FileStore

PART_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

BeforePiece = Callable[[], None]
Opener = Callable[[str], int]


def _continue() -> None:
    """Continue the transfer. Called before each piece; may raise to stop it."""


def _open(path: str) -> int:
    """Open a file for reading."""
    # Nonblocking: by now the file may have been replaced by a pipe.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


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


def describe(
    name: str, path: str, opener: Opener | None = None, before_piece: BeforePiece = _continue
) -> InputFile:
    """Return a file's digest, size and mode; UsageError if it cannot be a job's file."""
    try:
        if opener is None and not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO could block forever
            raise UsageError(f"{path!r} is no regular file")
        with open((opener or _open)(path), "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if found.st_size > CONTENT_LIMIT:
                raise UsageError(
                    f"{path!r} has {found.st_size:,} bytes; a job's file has at most "
                    f"{CONTENT_LIMIT:,}"
                )
            digest = _digest(file.fileno(), found.st_size, before_piece)
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
                    threads.run(partial(_read, path, state.size, file.size, opener or _open))
                )
                last = not data or state.size + len(data) >= file.size
                written = await call_style.wait_for(
                    store.write_content(file.digest, state.size, data, last=last)
                )
                if not written.whole and written.size <= state.size:
                    raise UnavailableError(
                        f"the store took nothing of the file {file.name!r} after {state.size:,} "
                        "bytes"
                    )
                state = written
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
) -> None:
    """Download a file to `path`, completely or not at all; a file there is replaced at the end.

    Raises CorruptStoreError if the store does not send the content that has its digest.
    """
    checked_content(file.digest, file.size)
    part = _part_path(path, file.digest)
    opens = partial(_open_part, part)
    try:
        await fill(file, opens, store=store, call_style=call_style, threads=threads)
    except BaseException:
        _remove_if_empty(part)
        raise
    await call_style.wait_for(threads.run(partial(os.replace, part, path)))


async def fill(
    file: InputFile | FileInfo,
    opens: Callable[[], int],
    *,
    store: FileStore,
    call_style: CallStyle,
    threads: FileThreads,
    before_piece: BeforePiece = _continue,
) -> None:
    """Write a file's content to the file that `opens` opens, after what it has of it already.

    Raises CorruptStoreError, and empties the file, if the store does not send that content.
    """
    # It is opened for each piece: a cancelled coroutine would close a descriptor, whose number may
    # be another file's by the time that a thread writes to it.
    for last_try in (False, True):
        began_at = size = await call_style.wait_for(threads.run(partial(_length, opens)))
        while size < file.size:
            before_piece()
            limit = min(PIECE, file.size - size)
            data = await call_style.wait_for(store.read_content(file.digest, size, limit))
            if len(data) != limit:
                raise CorruptStoreError(
                    f"the file {file.name!r}: the store sent {len(data):,} bytes instead of "
                    f"{limit:,} at offset {size:,}. Check the disk of the store."
                )
            await call_style.wait_for(threads.run(partial(_write, opens, data, size)))
            size += limit
        finish = partial(_finish, opens, file, before_piece)
        if await call_style.wait_for(threads.run(finish)):
            return
        # What was there before may have been damaged, or of another content: start again, once.
        if last_try or not began_at:
            break
    raise CorruptStoreError(
        f"the file {file.name!r} came out otherwise than it was written (SHA-256). "
        "Check the disk of the store."
    )


def _read(path: str, offset: int, size: int, opener: Opener) -> bytes:
    """Read a piece of a file, but nothing that was added after its size was seen."""
    try:
        with open(opener(path), "rb", buffering=0) as file:
            return os.pread(file.fileno(), max(0, min(PIECE, size - offset)), offset)
    except OSError as error:
        raise UsageError(f"the file {path!r} cannot be read: {error}") from error


def _digest(descriptor: int, size: int, before_piece: BeforePiece) -> str:
    """Return the SHA-256 of the first `size` bytes of a file."""
    sha256 = hashlib.sha256()
    offset = 0
    while offset < size:
        before_piece()
        data = os.pread(descriptor, min(PIECE, size - offset), offset)
        if not data:
            raise OSError(errno.EIO, "it has become shorter")
        sha256.update(data)
        offset += len(data)
    return sha256.hexdigest()


def _part_path(path: str, digest: str) -> str:
    folder, name = os.path.split(path)
    # In bytes, because that is how the length of a name is limited.
    beginning = os.fsdecode(os.fsencode(name)[:100])
    return os.path.join(folder, f".{beginning}.{digest[:16]}.part")


def _open_part(part: str) -> int:
    descriptor = os.open(part, PART_FLAGS, 0o666)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is not a file of this user alone; remove it", part)
    return descriptor


def _remove_if_empty(part: str) -> None:
    with suppress(OSError):
        found = os.lstat(part)
        if stat.S_ISREG(found.st_mode) and not found.st_size:
            os.unlink(part)


def _length(opens: Callable[[], int]) -> int:
    with open(opens(), "r+b", buffering=0) as file:
        return os.fstat(file.fileno()).st_size


def _write(opens: Callable[[], int], data: bytes, offset: int) -> None:
    rest = memoryview(data)
    with open(opens(), "r+b", buffering=0) as file:
        while rest:
            written = os.pwrite(file.fileno(), rest, offset)
            offset, rest = offset + written, rest[written:]


def _finish(
    opens: Callable[[], int], file: InputFile | FileInfo, before_piece: BeforePiece
) -> bool:
    with open(opens(), "r+b", buffering=0) as opened:
        descriptor = opened.fileno()
        found = os.fstat(descriptor)
        is_whole = found.st_size == file.size
        if not is_whole or _digest(descriptor, file.size, before_piece) != file.digest:
            os.ftruncate(descriptor, 0)
            return False
        if file.executable:  # for everyone who may read it
            os.fchmod(descriptor, found.st_mode | (found.st_mode & 0o444) >> 2)
    return True
