"""Which files a job leaves: those it named, and those that its patterns fit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ..core.files import FILES_LIMIT, file_name
from ..core.job import ErrorInfo
from ..errors import UsageError
from .untrusted_files import find_owned


class Gathered(msgspec.Struct, frozen=True):
    """Paths by name, and what there is to say: lines for the output, or why the job fails."""

    files: dict[str, str]
    marks: tuple[str, ...] = ()
    error: ErrorInfo | None = None


def gather(
    root: str,
    patterns: Sequence[str],
    named: Mapping[str, str],
    limit: int,
    *,
    owner: int | None = None,
) -> Gathered:
    """Look for a job's artifacts in `root`, following no link out of it.

    `named` are paths by name; they may lie anywhere. All together may have `limit` bytes. With an
    `owner`, another user, only files of that one are artifacts, and no links; see foreign.py.
    """
    marks: list[str] = []
    if owner is not None:
        owned = find_owned(root, patterns, owner, marks)
        paths = {name: path for name, (path, _) in owned.items()}
        return _judged(paths, sum(size for _, size in owned.values()), marks, limit)
    files = dict(named)
    for pattern in patterns:
        found = dict(_fitting(Path(root), pattern, marks))
        if not found:
            marks.append(f"no file fits {pattern!r}")
        files = {**found, **files}
    sizes = {name: _size(path) for name, path in files.items()}
    marks += [f"there is no file {files[name]!r}" for name, size in sizes.items() if size is None]
    there = {name: files[name] for name, size in sizes.items() if size is not None}
    return _judged(there, sum(size or 0 for size in sizes.values()), marks, limit)


def _judged(there: dict[str, str], total: int, marks: Sequence[str], limit: int) -> Gathered:
    error = None
    if len(there) > FILES_LIMIT:
        error = ErrorInfo("TooManyArtifacts", f"{len(there):,} files; the most is {FILES_LIMIT:,}")
    elif total > limit:
        error = ErrorInfo(
            "ArtifactTooLarge",
            f"its artifacts have {total:,} bytes, above the limit of {limit:,}; raise "
            "artifact_limit to keep more",
        )
    return Gathered(there, tuple(marks), error)


def _fitting(root: Path, pattern: str, marks: list[str]) -> Iterator[tuple[str, str]]:
    inside = root.resolve()
    for path in sorted(root.glob(pattern)):
        real = path.resolve()
        name = path.relative_to(root).as_posix()
        if not real.is_relative_to(inside):
            marks.append(f"{name!r} leads out of the folder, and is no artifact")
        elif real.is_file():
            try:
                yield file_name(name), str(real)
            except UsageError as error:
                marks.append(str(error))


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
