"""Finds the artifacts of a job: the files that it named or that match its patterns."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..core.files import FILES_LIMIT
from ..core.job import ErrorInfo
from .artifact_search import ArtifactLimitError, ArtifactSearch


class FoundArtifacts(msgspec.Struct, frozen=True):
    """Paths by name, notes for the job's output, and the error if the job must fail."""

    files: dict[str, str]
    marks: tuple[str, ...] = ()
    error: ErrorInfo | None = None


def find_artifacts(
    root: str,
    patterns: Sequence[str],
    named: Mapping[str, str],
    limit: int,
    *,
    owner: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> FoundArtifacts:
    """Find a job's artifacts in `root`, following no link that leads out of it.

    `named` maps names to paths, which may be anywhere. `limit` is the maximum total size in bytes.
    If the workdir was given to another user, its `owner`, only regular files of that user count;
    see untrusted_files.py. `check` is called often, and may raise to end the search.
    """
    search = ArtifactSearch(root, patterns, owner=owner, check=check)
    try:
        search.run()
    except ArtifactLimitError as error:
        return FoundArtifacts({}, error=ErrorInfo(error.kind, str(error)))
    marks = search.marks
    files = {name: os.path.join(root, each.path) for name, each in sorted(search.found.items())}
    total = sum(each.size for name, each in search.found.items() if name not in named)
    for name, path in named.items():
        size = _size(path)
        if size is None:
            marks.append(f"no such file: {path!r}")
        else:
            files[name] = path
            total += size
    return FoundArtifacts(files, tuple(marks), _limit_error(len(files), total, limit))


def _limit_error(count: int, total: int, limit: int) -> ErrorInfo | None:
    if count > FILES_LIMIT:
        return ErrorInfo(
            "TooManyArtifacts",
            f"{count:,} files, and a job can have at most {FILES_LIMIT:,} artifacts: pack the "
            "files into one",
        )
    if total > limit:
        return ErrorInfo(
            "ArtifactTooLarge",
            f"artifacts of {total:,} bytes exceed the limit of {limit:,}; raise artifact_limit "
            "to keep more",
        )
    return None


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: it is no path at all
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
