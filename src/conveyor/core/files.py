"""The files of jobs: inputs and artifacts, their names, digests and limits."""

from __future__ import annotations

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
    return value


def file_names(values: list[str]) -> list[str]:
    """Return names of files if they are valid and can exist together; UsageError otherwise."""
    if len(values) > FILES_LIMIT:
        raise UsageError(f"a job can have at most {FILES_LIMIT:,} files, got {len(values):,}")
    names = [file_name(value) for value in values]
    known = frozenset(names)
    for name in names:
        for folder in PurePosixPath(name).parents:
            if str(folder) in known:
                raise UsageError(
                    f"{str(folder)!r} cannot be both a file and the directory of {name!r}"
                )
    return names


def checked_digest(value: str) -> str:
    """Return a SHA-256 digest in lowercase hex; UsageError if it is not one."""
    if len(value) != 64 or not DIGITS.issuperset(value):
        raise UsageError(f"{value[:80]!r} is not a lowercase hexadecimal SHA-256 digest")
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


def is_text(value: str) -> bool:
    """Whether every store can keep a string: no NUL, and no bytes that are not characters."""
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of a file name that are not characters
        return False
    return "\0" not in value
