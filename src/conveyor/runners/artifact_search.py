"""Searches a directory for files that match patterns, in time that grows with its entries only.

A directory whose next components are all known is not listed. Each directory is opened below the
root and through no link, so that a job that changes the tree meanwhile cannot lead the search
elsewhere. The directory may belong to another user, who then gets nothing kept that is not a file
of that user: see untrusted_files.py.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from ..core.file_patterns import FilePatterns, Places
from ..core.files import FILE_NAME_LIMIT, FILES_LIMIT, file_name
from ..errors import UsageError
from ..system.confined_files import confined_directory
from .untrusted_files import is_listable

MAX_ENTRIES = 500_000
# In seconds.
MAX_TIME = 60.0
MAX_MARKS = 20


class ArtifactLimitError(Exception):
    """The search for artifacts, or what it found, is too large; `kind` names the error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SearchLimits(msgspec.Struct, frozen=True):
    """The maximum number of entries that a search looks at, and seconds that it takes."""

    entries: int = MAX_ENTRIES
    seconds: float = MAX_TIME


LIMITS = SearchLimits()


class FoundFile(msgspec.Struct, frozen=True):
    """A file below the root: its path without any link, and its size."""

    path: str
    size: int


class _Directory(msgspec.Struct, frozen=True):
    """A directory to search: its name, its path without any link, and where the patterns are."""

    name: str
    path: str
    places: Places


class ArtifactSearch:
    """One search below `root`; `owner` is the other user, if any, to whom it was given.

    `check` is called for each entry, and may raise to end the search. `clock` returns seconds.
    """

    def __init__(
        self,
        root: str,
        patterns: Sequence[str],
        *,
        owner: int | None = None,
        check: Callable[[], None] = lambda: None,
        limits: SearchLimits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.found: dict[str, FoundFile] = {}
        self._root = root
        self._real_root = os.path.realpath(root)
        self._owner = owner
        self._patterns = FilePatterns(patterns)
        self._unmatched = dict.fromkeys(patterns)
        self._refusals: list[str] = []
        self._refused = 0
        self._check = check
        self._limits = limits
        self._clock = clock
        self._until = clock() + limits.seconds
        self._entries = 0
        self._left = [_Directory("", "", self._patterns.start)]

    def run(self) -> None:
        """Search; ArtifactLimitError if a limit is hit."""
        while self._left:
            directory = self._left.pop()
            with suppress(OSError), confined_directory(self._root, directory.path) as descriptor:
                if self._owner is None or is_listable(os.fstat(descriptor), self._owner):
                    self._search(directory, descriptor)

    @property
    def marks(self) -> list[str]:
        """Notes for the job's output: files that are not kept, and patterns without a match."""
        marks = self._refusals.copy()
        if self._refused > MAX_MARKS:
            marks.append(f"{self._refused - MAX_MARKS:,} more files are not kept")
        return marks + [f"no file matches {pattern!r}" for pattern in self._unmatched]

    def _search(self, directory: _Directory, descriptor: int) -> None:
        names = self._patterns.names(directory.places)
        see = self._check if names is None else self._count
        for last in sorted(self._listed(descriptor) if names is None else names):
            see()
            places = self._patterns.step(directory.places, last)
            if not places:
                continue
            with suppress(OSError):
                seen = os.stat(last, dir_fd=descriptor, follow_symlinks=False)
                self._see(directory, last, seen, places)

    def _see(self, directory: _Directory, last: str, seen: os.stat_result, places: Places) -> None:
        name, path = _join(directory.name, last), _join(directory.path, last)
        if stat.S_ISLNK(seen.st_mode):
            self._see_link(
                name, path, self._patterns.step(directory.places, last, through_link=True)
            )
        elif stat.S_ISDIR(seen.st_mode):
            self._enter(_Directory(name, path, places))
        elif stat.S_ISREG(seen.st_mode) and self._patterns.matched(places):
            self._keep(name, path, seen, places)

    def _listed(self, descriptor: int) -> Iterator[str]:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                self._count()
                yield entry.name

    def _count(self) -> None:
        self._check()
        self._entries += 1
        if self._entries > self._limits.entries:
            raise self._limit(f"it has looked at {self._limits.entries:,} files and directories")
        if self._clock() > self._until:
            raise self._limit(f"it has taken {self._limits.seconds:g} s")

    def _limit(self, why: str) -> ArtifactLimitError:
        return ArtifactLimitError(
            "ArtifactSearchTooLarge",
            f"the search for artifacts in {self._root!r} was stopped, because {why}: use patterns "
            "without **, or write the artifacts into a directory of their own",
        )

    def _enter(self, directory: _Directory) -> None:
        if len(directory.name) < FILE_NAME_LIMIT:
            self._left.append(directory)
        else:
            self._refuse(
                f"{directory.name!r} is not searched: the name of an artifact can have at most "
                f"{FILE_NAME_LIMIT} characters"
            )

    def _see_link(self, name: str, path: str, places: Places) -> None:
        is_matched = bool(self._patterns.matched(places))
        if self._owner is not None:
            if is_matched:
                self._refuse(f"{name!r} is not kept: it is a symbolic link")
            return
        # Not `Path.resolve`, which raises for a loop of links.
        real = os.path.realpath(os.path.join(self._real_root, path))
        inner = os.path.relpath(real, self._real_root)
        if inner.split("/", 1)[0] == "..":
            if places:
                done = "kept" if is_matched else "searched"
                self._refuse(f"{name!r} is not {done}: it is outside the job's folder")
            return
        with suppress(OSError):
            seen = os.stat(real, follow_symlinks=False)
            if stat.S_ISDIR(seen.st_mode) and places:
                self._enter(_Directory(name, "" if inner == "." else inner, places))
            elif stat.S_ISREG(seen.st_mode) and is_matched:
                self._keep(name, inner, seen, places)
                return
        if is_matched:
            self._refuse(f"{name!r} is not kept: the link leads to no file")

    def _keep(self, name: str, path: str, seen: os.stat_result, places: Places) -> None:
        if self._owner is not None and seen.st_uid != self._owner:
            self._refuse(f"{name!r} is not kept: another user owns it")
            return
        try:
            file_name(name)
        except UsageError as error:
            self._refuse(f"{name!r} is not kept: {error}")
            return
        self.found[name] = FoundFile(path, seen.st_size)
        if len(self.found) > FILES_LIMIT:
            raise ArtifactLimitError(
                "TooManyArtifacts",
                f"more than {FILES_LIMIT:,} files match the patterns, and a job can have at most "
                f"{FILES_LIMIT:,} artifacts: use narrower patterns, or pack the files into one",
            )
        for pattern in self._patterns.matched(places):
            self._unmatched.pop(pattern, None)

    def _refuse(self, why: str) -> None:
        self._refused += 1
        if self._refused <= MAX_MARKS:
            self._refusals.append(why)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
