"""What a file of a job is: its name and its content's digest, and what bounds it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from ..errors import UsageError

FileKind = Literal["input", "artifact"]

# A store takes and gives a content in pieces of at most this many bytes.
PIECE = 1 << 20
CONTENT_LIMIT = 4 << 30
FILES_LIMIT = 1000
FILE_NAME_LIMIT = 200
ARTIFACT_LIMIT = 1 << 30
DIGITS = frozenset("0123456789abcdef")


class InputFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a job finds in its folder. `digest` is the SHA-256 of its content, in hex."""

    name: str
    digest: str
    size: int
    executable: bool = False


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the store knows it: an input, or an artifact that a job left under a `lease`."""

    name: str
    digest: str
    size: int
    kind: FileKind
    executable: bool = False
    lease: int = 0


def inputs(files: tuple[InputFile, ...]) -> list[FileInfo]:
    """Return a job's inputs as the store shows them, by name."""
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
    """Return a valid name of a file, a relative path within the job's folder; else UsageError."""
    if not isinstance(value, str) or not 0 < len(value) <= FILE_NAME_LIMIT:
        raise UsageError(
            f"a file's name is a text of 1 to {FILE_NAME_LIMIT} characters, not {value!r}"
        )
    path = PurePosixPath(value)
    odd = "\0" in value or not _is_text(value) or str(path) != value
    if odd or path.is_absolute() or ".." in path.parts or value == ".":
        raise UsageError(f"{value!r}: a file's name is a relative path within the job's folder")
    return value


def file_names(values: list[str]) -> list[str]:
    """Return valid names that can be there at once; UsageError otherwise."""
    if len(values) > FILES_LIMIT:
        raise UsageError(f"{len(values):,} files; a job can have {FILES_LIMIT:,}")
    names = [file_name(value) for value in values]
    known = frozenset(names)
    for name in names:
        for folder in PurePosixPath(name).parents:
            if str(folder) in known:
                raise UsageError(f"{str(folder)!r} cannot be a file and the folder of {name!r}")
    return names


def checked_digest(value: str) -> str:
    """Return a SHA-256 in hex; UsageError if it is none."""
    if len(value) != 64 or not DIGITS.issuperset(value):
        raise UsageError(f"{value[:80]!r} is no SHA-256 in 64 small hexadecimal digits")
    return value


def checked_piece(offset: int, size: int) -> None:
    """Raise UsageError for a piece that no content can have."""
    if size > PIECE:
        raise UsageError(f"a piece of {size:,} bytes; the most is {PIECE:,}")
    if offset < 0 or offset + size > CONTENT_LIMIT:
        raise UsageError(f"a content is at most {CONTENT_LIMIT:,} bytes")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # what the file system could not decode
        return False
    return True
