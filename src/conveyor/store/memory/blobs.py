"""Contents of files in the memory of this process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from ...core.files import checked_digest, checked_piece, checked_range
from ...errors import NotFoundError, UsageError
from ..file_errors import gap_message, mismatch_message, missing_content
from ..messages import Content


class StoredContent(msgspec.Struct):
    """A content, or the beginning of one. `used_at` is when it was last used."""

    used_at: float
    data: bytearray = msgspec.field(default_factory=bytearray)
    sha256: Any = msgspec.field(default_factory=hashlib.sha256)
    whole: bool = False


class MemoryBlobs:
    """Contents by digest. Thread-safe. `now` is the store's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.contents: dict[str, StoredContent] = {}
        self._now = now
        self._lock = threading.RLock()

    def look(self, digest: str) -> Content:
        """Return how much of a content is stored, and count that as a use."""
        with self._lock:
            stored = self.contents.get(checked_digest(digest))
            if stored is None:
                return Content(0, whole=False)
            stored.used_at = self._now()
            return Content(len(stored.data), stored.whole)

    def write(self, digest: str, offset: int, data: bytes, *, last: bool) -> Content:
        """Append a piece; the last one completes the content."""
        checked_piece(offset, len(data))
        with self._lock:
            stored = self.contents.get(checked_digest(digest)) or StoredContent(self._now())
            if not stored.whole:
                self._append(stored, digest, offset, data, last=last)
            return self.look(digest)

    def read(self, digest: str, offset: int, limit: int) -> bytes:
        """Return a piece of a complete content."""
        checked_range(offset, limit)
        with self._lock:
            stored = self.contents.get(checked_digest(digest))
            if stored is None or not stored.whole:
                raise NotFoundError(missing_content(digest))
            return bytes(stored.data[offset : offset + limit])

    def unused_since(self, moment: float) -> list[str]:
        """Return the digests of contents that were last used before `moment`."""
        with self._lock:
            return sorted(
                digest for digest, stored in self.contents.items() if stored.used_at < moment
            )

    def remove(self, digest: str, unused_since: float) -> bool:
        """Remove a content unless it was used after `unused_since`."""
        with self._lock:
            stored = self.contents.get(digest)
            if stored is None or stored.used_at >= unused_since:
                return False
            del self.contents[digest]
            return True

    def _append(
        self, stored: StoredContent, digest: str, offset: int, data: bytes, *, last: bool
    ) -> None:
        size = len(stored.data)
        if offset > size:
            raise UsageError(gap_message(digest, size, offset))
        added = data[size - offset :]
        stored.data += added
        stored.sha256.update(added)
        if last and stored.sha256.hexdigest() != digest:
            self.contents.pop(digest, None)
            raise UsageError(mismatch_message(digest))
        stored.whole = last
        self.contents[digest] = stored
