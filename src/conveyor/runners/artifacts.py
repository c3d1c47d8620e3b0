"""Finds the artifacts of a job: the files that it named or that match its patterns."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ..core.files import FILES_LIMIT, file_name
from ..core.job import ErrorInfo
from ..errors import UsageError
from .untrusted_files import find_owned_files


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
) -> FoundArtifacts:
    """Find a job's artifacts in `root`, following no link that leads out of it.

    `named` maps names to paths, which may be anywhere. `limit` is the maximum total size in bytes.
    If the workdir was given to another user, its `owner`, only regular files of that user count;
    see untrusted_files.py.
    """
    marks: list[str] = []
    if owner is not None:
        owned = find_owned_files(root, patterns, owner, marks)
        paths = {name: path for name, (path, _) in owned.items()}
        return _check_limits(paths, sum(size for _, size in owned.values()), marks, limit)
    files = dict(named)
    for pattern in patterns:
        try:
            found = dict(_matching(Path(root), pattern, marks))
        except (OSError, RuntimeError, ValueError) as error:
            marks.append(f"cannot search for {pattern!r}: {error}")
            continue
        if not found:
            marks.append(f"no file matches {pattern!r}")
        files = {**found, **files}
    sizes = {name: _size(path) for name, path in files.items()}
    marks += [f"no such file: {files[name]!r}" for name, size in sizes.items() if size is None]
    found_files = {name: files[name] for name, size in sizes.items() if size is not None}
    return _check_limits(found_files, sum(size or 0 for size in sizes.values()), marks, limit)


def _check_limits(
    files: dict[str, str], total: int, marks: Sequence[str], limit: int
) -> FoundArtifacts:
    error = None
    if len(files) > FILES_LIMIT:
        error = ErrorInfo("TooManyArtifacts", f"{len(files):,} files; the limit is {FILES_LIMIT:,}")
    elif total > limit:
        error = ErrorInfo(
            "ArtifactTooLarge",
            f"artifacts of {total:,} bytes exceed the limit of {limit:,}; raise artifact_limit "
            "to keep more",
        )
    return FoundArtifacts(files, tuple(marks), error)


def _matching(root: Path, pattern: str, marks: list[str]) -> Iterator[tuple[str, str]]:
    inside = os.path.realpath(root)
    for path in sorted(root.glob(pattern)):
        real = Path(os.path.realpath(path))  # not `resolve`, which raises for a loop of links
        name = path.relative_to(root).as_posix()
        if not real.is_relative_to(inside):
            marks.append(f"{name!r} is not kept: it is outside the job's folder")
        elif os.path.isfile(real):
            try:
                yield file_name(name), str(real)
            except UsageError as error:
                marks.append(str(error))
        elif os.path.islink(path):
            marks.append(f"{name!r} is not kept: the link leads to no file")


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
