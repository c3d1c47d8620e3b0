"""The files of jobs: inputs and artifacts, their names, digests and limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from ..errors import UsageError
from .record import Record

FileKind = Literal["input", "artifact"]

# Contents are read and written in pieces of at most this many bytes.
PIECE = 1 << 20
CONTENT_LIMIT = 4 << 30
FILES_LIMIT = 1000
FILE_NAME_LIMIT = 200
# What file systems allow for each component of a path, in bytes.
COMPONENT_LIMIT = 255
ARTIFACT_LIMIT = 1 << 30
DIGITS = frozenset("0123456789abcdef")


class InputFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a job finds in its directory. `digest` is the SHA-256 of its content, in hex."""

    name: str
    digest: str
    size: int
    executable: bool = False


class FileInfo(Record, frozen=True, kw_only=True):
    """A file in the store: an input, or an artifact that the attempt under `lease` produced.

    `digest` is the SHA-256 of its content, in hex; `size` is in bytes.
    """

    name: str
    digest: str
    size: int
    kind: FileKind
    executable: bool = False
    lease: int = 0


def inputs(files: tuple[InputFile, ...]) -> list[FileInfo]:
    """Return a job's inputs as the store lists them, sorted by name."""
    return [
        FileInfo(
            name=each.name,
            digest=each.digest,
            size=each.size,
            kind="input",
            executable=each.executable,
        )
        for each in sorted(files, key=lambda each: each.name)
    ]


def file_name(value: Any) -> str:
    """Return the name of a file if it is valid: a relative path in the job's directory."""
    if not isinstance(value, str) or not 0 < len(value) <= FILE_NAME_LIMIT:
        raise UsageError(
            f"a file name must be a string of 1 to {FILE_NAME_LIMIT} characters, got {value!r}"
        )
    path = PurePosixPath(value)
    odd = not is_text(value) or str(path) != value
    if odd or path.is_absolute() or ".." in path.parts or value == ".":
        raise UsageError(
            f"a file name must be a relative path within the job's directory, got {value!r}"
        )
    if any(len(part.encode()) > COMPONENT_LIMIT for part in path.parts):
        raise UsageError(
            f"each part of a file name can have at most {COMPONENT_LIMIT} bytes, got {value!r}"
        )
    return value


def file_names(values: Sequence[Any]) -> list[str]:
    """Return names of files if they are valid and can exist together; UsageError otherwise."""
    if len(values) > FILES_LIMIT:
        raise UsageError(f"a job can have at most {FILES_LIMIT:,} files, got {len(values):,}")
    names = [file_name(value) for value in values]
    known: set[str] = set()
    for name in names:
        if name in known:
            raise UsageError(f"two files cannot have the same name {name!r}")
        known.add(name)
    for name in names:
        for folder in PurePosixPath(name).parents:
            if str(folder) in known:
                raise UsageError(
                    f"{str(folder)!r} cannot be both a file and the directory of {name!r}"
                )
    return names


def artifact_patterns(values: Iterable[Any]) -> tuple[str, ...]:
    """Return a job's patterns of artifacts if they are valid, each once; UsageError otherwise."""
    given = tuple(islice(values, FILES_LIMIT + 1))
    if len(given) > FILES_LIMIT:
        raise UsageError(f"a job can have at most {FILES_LIMIT:,} patterns of artifacts")
    patterns = tuple(dict.fromkeys(file_name(each) for each in given))
    for pattern in patterns:
        if any("**" in part and part != "**" for part in pattern.split("/")):
            raise UsageError(f"{pattern!r}: ** must stand alone between slashes, as in **/*.whl")
    return patterns


def check_files(files: Sequence[InputFile], patterns: Sequence[str]) -> None:
    """Raise UsageError for input files or patterns of artifacts that no job can have.

    Names decide where files are written and read, so this is checked where jobs are stored, and
    again where they run: the worker's store may be the server of somebody else.
    """
    file_names([each.name for each in files])
    for each in files:
        checked_content(each.digest, each.size)
    artifact_patterns(patterns)


def checked_file(file: FileInfo) -> FileInfo:
    """Return a file that a store lists, or is given, if it is valid; UsageError otherwise."""
    file_name(file.name)
    checked_content(file.digest, file.size)
    return file


def checked_content(digest: Any, size: Any) -> None:
    """Raise UsageError for what cannot be the digest and the size of a content."""
    checked_digest(digest)
    if not isinstance(size, int) or not 0 <= size <= CONTENT_LIMIT:
        raise UsageError(f"a file can have 0 to {CONTENT_LIMIT:,} bytes, got {size!r:.40}")


def checked_digest(value: Any) -> str:
    """Return a SHA-256 digest in lowercase hex; UsageError if it is not one."""
    if not isinstance(value, str) or len(value) != 64 or not DIGITS.issuperset(value):
        raise UsageError(f"{value!r:.80} is not a lowercase hexadecimal SHA-256 digest")
    return value


def checked_piece(offset: int, size: int) -> None:
    """Raise UsageError if a piece is too large or lies outside of any content."""
    if size > PIECE:
        raise UsageError(f"a piece can have at most {PIECE:,} bytes, got {size:,}")
    if size < 0:
        raise UsageError(f"a piece must have 0 or more bytes, got {size:,}")
    if offset < 0 or offset + size > CONTENT_LIMIT:
        raise UsageError(
            f"a file can have at most {CONTENT_LIMIT:,} bytes, got {size:,} at offset {offset:,}"
        )


def checked_range(offset: int, limit: int) -> None:
    """Raise UsageError if no content can be read from there; beyond its end there is less to read.

    At most `limit` bytes are read, a piece.
    """
    checked_piece(0, limit)
    checked_piece(offset, 0)


def is_text(value: str) -> bool:
    """Whether every store can keep a string: no NUL, and no bytes that are not characters."""
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of a file name that are not characters
        return False
    return "\0" not in value
