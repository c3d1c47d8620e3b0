"""Contents in a directory beside the database: `ab/<digest>`, or `ab/<digest>.part` until complete.

A content is renamed to its digest only after its digest was checked and it was written to disk, so
a file under a digest always has that digest. Modification times are set by the store's clock and
record when the content was last used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from math import inf

from ...core.files import DIGITS, checked_digest, checked_piece, checked_range
from ...errors import NotFoundError, UnavailableError, UsageError
from ...system.file_lock import lock_attempts
from ...system.file_owner import create_directory, create_file
from ..file_errors import gap_message, mismatch_message, missing_content
from ..messages import Content

PART = ".part"


class BlobDirectory:
    """Contents by digest. Safe to use from several threads and processes at once."""

    def __init__(self, folder: str, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def look(self, digest: str) -> Content:
        """Return how much of a content is stored, and count that as a use."""
        whole = self._path(digest)
        if not os.path.isdir(self._folder):
            return Content(0, whole=False)
        with self._translated(), self._locked(fcntl.LOCK_SH):
            for path in (whole, whole + PART):
                with suppress(FileNotFoundError):
                    self._touch(path)
                    return Content(os.stat(path).st_size, whole=path == whole)
        return Content(0, whole=False)

    def write(self, digest: str, offset: int, data: bytes, *, last: bool) -> Content:
        """Append a piece; the last one completes the content."""
        checked_piece(offset, len(data))
        whole = self._path(digest)
        with self._translated():
            store, _ = os.path.splitext(self._folder)
            create_directory(self._folder, like=store)
            create_directory(os.path.dirname(whole), like=self._folder)
            with self._locked(fcntl.LOCK_SH):
                return self._write(whole, offset, data, last=last)

    def read(self, digest: str, offset: int, limit: int) -> bytes:
        """Return a piece of a complete content."""
        checked_range(offset, limit)
        with self._translated():
            try:
                with open(self._path(digest), "rb", buffering=0) as file:
                    return os.pread(file.fileno(), limit, offset)
            except FileNotFoundError:
                raise NotFoundError(missing_content(digest)) from None

    def unused_since(self, moment: float) -> list[str]:
        """Return the digests of contents, complete or not, that were last used before `moment`."""
        found: set[str] = set()
        with self._translated():
            for folder in _entries(self._folder):
                if folder.is_dir():
                    found |= {
                        each.name.removesuffix(PART)
                        for each in _entries(folder.path)
                        if _used_at(each) < moment
                    }
        return sorted(each for each in found if len(each) == 64 and DIGITS.issuperset(each))

    def remove(self, digest: str, unused_since: float) -> bool:
        """Remove a content unless it was used after `unused_since`."""
        removed = False
        whole = self._path(digest)
        # The exclusive lock waits for every `look` and `write` in progress.
        with self._translated(), self._locked(fcntl.LOCK_EX):
            for path in (whole, whole + PART):
                with suppress(FileNotFoundError):
                    if os.stat(path).st_mtime < unused_since:
                        os.unlink(path)
                        removed = True
        return removed

    def _write(self, whole: str, offset: int, data: bytes, *, last: bool) -> Content:
        for _ in lock_attempts(f"{whole}{PART} is being written by others"):
            if os.path.exists(whole):
                return self._found(whole)
            with _opened(whole + PART) as part:
                if part is None:
                    continue
                # Another process may have completed or removed it before this one got the lock.
                if os.path.exists(whole):
                    with suppress(FileNotFoundError):
                        os.unlink(whole + PART)
                    return self._found(whole)
                if _is_at(part, whole + PART):
                    return self._append(part, whole, offset, data, last=last)
        raise AssertionError("lock_attempts ends with an error")

    def _append(self, part: int, whole: str, offset: int, data: bytes, *, last: bool) -> Content:
        digest = os.path.basename(whole)
        size = os.fstat(part).st_size
        if offset > size:
            if not size:  # this call created it
                os.unlink(whole + PART)
            raise UsageError(gap_message(digest, size, offset))
        rest = memoryview(data)[size - offset :]
        while rest:
            written = os.pwrite(part, rest, size)
            size, rest = size + written, rest[written:]
        self._touch(whole + PART)
        if last:
            with open(whole + PART, "rb") as file:
                fits = hashlib.file_digest(file, "sha256").hexdigest() == digest
            if not fits:
                os.unlink(whole + PART)
                raise UsageError(mismatch_message(digest))
            os.fsync(part)
            os.rename(whole + PART, whole)
            _sync_folder(os.path.dirname(whole))
        return Content(size, whole=last)

    def _found(self, whole: str) -> Content:
        self._touch(whole)
        return Content(os.stat(whole).st_size, whole=True)

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, checked_digest(digest)[:2], digest)

    def _touch(self, path: str) -> None:
        now = self._now()
        try:
            os.utime(path, (now, now))
        except PermissionError:  # another user's, in a store that a group shares
            os.utime(path)

    @contextmanager
    def _locked(self, mode: int) -> Generator[None]:
        """Hold the directory's lock: shared to use contents, exclusive to remove one."""
        path = os.path.join(self._folder, ".lock")
        for _ in lock_attempts(f"{path} is locked by another process"):
            with _opened(path, mode) as lock:
                if lock is not None:
                    yield
                    return

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UnavailableError(
                f"the folder of files {self._folder} cannot be used: {error}. There must be room, "
                "and it must be writable for this user."
            ) from error


@contextmanager
def _opened(path: str, mode: int = fcntl.LOCK_EX) -> Generator[int | None]:
    """Open a file and lock it; yield None if another process holds the lock."""
    folder = os.path.dirname(path)
    descriptor = create_file(path, os.O_RDWR | os.O_CLOEXEC, like=folder)
    try:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        # Closing is not enough: a child forked meanwhile shares the open file, and so the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _entries(folder: str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _used_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # completed or removed meanwhile
        return inf


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
