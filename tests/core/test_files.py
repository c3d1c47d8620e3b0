"""The names, digests and sizes of files that a job may have."""

from __future__ import annotations

import itertools

import pytest

from conveyor.core.files import (
    CONTENT_LIMIT,
    FILES_LIMIT,
    PIECE,
    InputFile,
    artifact_patterns,
    checked_digest,
    checked_piece,
    file_name,
    file_names,
    inputs,
)
from conveyor.errors import UsageError

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize("name", ["a", "a/b.txt", "a" * 200, "..a", "a..b/c", "ä ö", "a\\b"])
def test_a_relative_path_below_the_directory_is_a_name(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a" * 201, "/a", "..", "a/../b", ".", "./a", "a//b", "a/", "a\0b", "\udcff", 7]
)
def test_a_name_that_could_leave_the_directory_or_has_two_spellings_is_refused(
    name: object,
) -> None:
    with pytest.raises(UsageError, match="a file name must be"):
        file_name(name)


def test_each_part_of_a_name_fits_into_a_file_system() -> None:
    assert file_name("ä" * 127 + "/" + "ä" * 72)
    for name in ("ä" * 128, "a/" + "😀" * 64):
        with pytest.raises(UsageError, match="at most 255 bytes"):
            file_name(name)


def test_no_two_files_have_the_same_name() -> None:
    assert file_names(["a", "A"]) == ["a", "A"]
    with pytest.raises(UsageError, match="two files cannot have the same name 'a'"):
        file_names(["a", "b", "a"])


def test_the_number_of_patterns_is_counted_before_they_are_read() -> None:
    assert artifact_patterns(["*.txt", "a", "*.txt"]) == ("*.txt", "a")
    with pytest.raises(UsageError, match="at most 1,000 patterns"):
        artifact_patterns(itertools.repeat("a"))


def test_no_file_is_the_directory_of_another() -> None:
    assert file_names(["a/b", "a/c", "ab"]) == ["a/b", "a/c", "ab"]
    with pytest.raises(UsageError, match="'a/b' cannot be both a file and the directory of 'a/b/"):
        file_names(["a/b", "a/b/c/d"])


def test_a_job_has_a_thousand_files_at_most() -> None:
    names = [str(number) for number in range(FILES_LIMIT)]
    assert file_names(names) == names
    with pytest.raises(UsageError, match="at most 1,000 files, got 1,001"):
        file_names([*names, "more"])


def test_a_digest_has_sixty_four_lowercase_digits() -> None:
    assert checked_digest(DIGEST) == DIGEST
    for wrong in (DIGEST[1:], DIGEST + "0", DIGEST.upper(), DIGEST[1:] + "g"):
        with pytest.raises(UsageError, match="is not a lowercase hexadecimal SHA-256 digest"):
            checked_digest(wrong)


def test_a_piece_lies_within_the_largest_content() -> None:
    checked_piece(0, PIECE)
    checked_piece(CONTENT_LIMIT - 1, 1)
    for offset, size in ((0, PIECE + 1), (-1, 1), (CONTENT_LIMIT, 1), (CONTENT_LIMIT - 1, 2)):
        with pytest.raises(UsageError, match="can have at most"):
            checked_piece(offset, size)
    with pytest.raises(UsageError, match="0 or more bytes, got -1"):
        checked_piece(0, -1)


def test_the_inputs_of_a_job_are_listed_by_name() -> None:
    files = (
        InputFile(name="b", digest=DIGEST, size=2, executable=True),
        InputFile(name="a", digest=DIGEST, size=1),
    )
    first, second = inputs(files)
    assert (first.name, first.size, first.kind, first.executable) == ("a", 1, "input", False)
    assert (second.name, second.digest, second.executable) == ("b", DIGEST, True)
