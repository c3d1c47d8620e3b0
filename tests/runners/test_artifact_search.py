"""The search for artifacts ends: by itself, at a limit, or when its job must stop."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from conveyor.core.files import FILES_LIMIT
from conveyor.runners.artifact_search import ArtifactLimitError, ArtifactSearch, SearchLimits
from conveyor.runners.artifacts import find_artifacts
from conveyor.runners.untrusted_files import file_opener

ME = os.getuid()
OWNERS = pytest.mark.parametrize("owner", [None, ME], ids=["own", "another user's"])


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def search(
    root: Path, *patterns: str, owner: int | None = None, limits: SearchLimits | None = None
) -> ArtifactSearch:
    made = ArtifactSearch(str(root), patterns, owner=owner, limits=limits or SearchLimits())
    made.run()
    return made


@OWNERS
def test_many_double_stars_over_deep_folders_look_once_at_each_entry(
    tmp_path: Path, owner: int | None
) -> None:
    deep = "/".join(["d"] * 40)
    make(tmp_path, f"{deep}/x", f"{deep}/y")
    limits = SearchLimits(entries=42)
    found = search(tmp_path, "**/" * 30 + "x", "**/d/" * 20 + "y", owner=owner, limits=limits)
    assert sorted(found.found) == [f"{deep}/x", f"{deep}/y"]


@OWNERS
def test_names_without_signs_are_looked_up_and_no_directory_is_listed(
    tmp_path: Path, owner: int | None
) -> None:
    make(tmp_path, *(f"out/{number}" for number in range(50)), "log")
    patterns = ("out/7", "out/8", "log", "none/a", "log/a")
    found = search(tmp_path, *patterns, owner=owner, limits=SearchLimits(entries=5))
    assert sorted(found.found) == ["log", "out/7", "out/8"]
    assert found.marks == ["no file matches 'none/a'", "no file matches 'log/a'"]
    with pytest.raises(ArtifactLimitError):
        search(tmp_path, *patterns, owner=owner, limits=SearchLimits(entries=4))


@OWNERS
def test_only_directories_that_can_lead_to_a_match_are_searched(
    tmp_path: Path, owner: int | None
) -> None:
    make(tmp_path, *(f"big/{number}" for number in range(50)), "a1/b/x", "a2/c/x")
    limits = SearchLimits(entries=7)
    assert sorted(search(tmp_path, "a*/b/*", owner=owner, limits=limits).found) == ["a1/b/x"]


@OWNERS
def test_a_search_that_looks_at_too_much_is_stopped(tmp_path: Path, owner: int | None) -> None:
    make(tmp_path, *(f"{number}/x" for number in range(9)))
    assert len(search(tmp_path, "**/x", owner=owner, limits=SearchLimits(entries=18)).found) == 9
    with pytest.raises(ArtifactLimitError, match="it has looked at 17 files and directories: use"):
        search(tmp_path, "**/x", owner=owner, limits=SearchLimits(entries=17))


def test_a_search_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    make(tmp_path, *map(str, range(9)))
    seconds = iter(range(100))
    made = ArtifactSearch(
        str(tmp_path), ["*"], limits=SearchLimits(seconds=5.0), clock=lambda: float(next(seconds))
    )
    with pytest.raises(ArtifactLimitError, match="it has taken 5 s: use patterns without"):
        made.run()
    assert next(seconds) == 7


@OWNERS
def test_a_search_ends_when_its_job_must_stop(tmp_path: Path, owner: int | None) -> None:
    make(tmp_path, *map(str, range(9)))
    # Nine times while they are listed, and nine times while they are looked at.
    for calls in (0, 5, 9, 17):
        with pytest.raises(IndexError):
            find_artifacts(str(tmp_path), ["*"], {}, 1000, owner=owner, check=([None] * calls).pop)
    enough = ([None] * 18).pop
    assert len(find_artifacts(str(tmp_path), ["*"], {}, 1000, owner=owner, check=enough).files) == 9


@OWNERS
def test_too_many_artifacts_fail_the_job_with_what_to_do(tmp_path: Path, owner: int | None) -> None:
    make(tmp_path, *map(str, range(FILES_LIMIT)))
    found = find_artifacts(str(tmp_path), ["*"], {}, 1 << 30, owner=owner)
    assert (len(found.files), found.error) == (FILES_LIMIT, None)
    make(tmp_path, "one more")
    error = find_artifacts(str(tmp_path), ["*"], {}, 1 << 30, owner=owner).error
    assert error is not None
    assert error.type == "TooManyArtifacts"
    assert "more than 1,000 files match the patterns" in error.message
    assert "pack the files into one" in error.message


def test_named_artifacts_count_too(tmp_path: Path) -> None:
    make(tmp_path, *map(str, range(FILES_LIMIT)), "one more")
    named = {"named": str(tmp_path / "one more"), "7": str(tmp_path / "7")}
    error = find_artifacts(str(tmp_path), ["[0-9]*"], named, 1 << 30).error
    assert error is not None
    assert error.message.startswith("1,001 files, and a job can have at most 1,000")
    named = {"7": str(tmp_path / "one more"), "none": str(tmp_path / "none")}
    found = find_artifacts(str(tmp_path), ["[0-9]*"], named, 1 << 30)
    assert found.error is None
    assert found.files["7"].endswith("one more")
    assert found.marks == (f"no such file: {str(tmp_path / 'none')!r}",)
    assert find_artifacts(str(tmp_path), [], {"odd": "a\0b"}, 1).marks == (
        "no such file: 'a\\x00b'",
    )


def test_links_within_the_directory_are_followed_but_not_by_double_stars(tmp_path: Path) -> None:
    make(tmp_path, "real/a", "real/sub/a")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/self").symlink_to("..")
    found = search(tmp_path, "*/a", "**/a", "link/sub/*", "real/self/real/a")
    assert {name: each.path for name, each in found.found.items()} == {
        "link/a": "real/a",
        "link/sub/a": "real/sub/a",
        "real/a": "real/a",
        "real/self/real/a": "real/a",
        "real/sub/a": "real/sub/a",
    }
    assert found.marks == []


def test_a_loop_of_links_ends_with_the_pattern(tmp_path: Path) -> None:
    make(tmp_path, "x")
    (tmp_path / "here").symlink_to(".")
    assert sorted(search(tmp_path, "*/*/*/x").found) == ["here/here/here/x"]


def test_no_directory_outside_is_listed_through_a_link(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret", "root/x")
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    found = search(tmp_path / "root", "*/*", "link/secret")
    assert found.found == {}
    assert found.marks[0] == "'link' is not searched: it is outside the job's folder"
    assert "secret" not in found.marks[0]


@pytest.mark.parametrize("replaced", ["file", "directory", "pipe"])
def test_what_is_replaced_after_the_search_is_not_read(tmp_path: Path, replaced: str) -> None:
    make(tmp_path, "outside/a", "root/sub/a")
    root = tmp_path / "root"
    path = find_artifacts(str(root), ["sub/a"], {}, 1000).files["sub/a"]
    opens = file_opener(str(root), None)
    os.close(opens(path))
    if replaced == "directory":
        shutil.rmtree(root / "sub")
        (root / "sub").symlink_to(tmp_path / "outside")
    else:
        (root / "sub/a").unlink()
        if replaced == "file":
            (root / "sub/a").symlink_to(tmp_path / "outside/a")
        else:
            os.mkfifo(root / "sub/a")
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on what is there
        opens(path)


@OWNERS
def test_a_name_that_no_artifact_can_have_is_noted_once_for_what_is_below_it(
    tmp_path: Path, owner: int | None
) -> None:
    long = "x" * 150
    make(tmp_path, f"{long}/{long}/a", f"{long}/{long}/b", f"{long}/a")
    found = search(tmp_path, "**/[ab]", owner=owner)
    assert list(found.found) == [f"{long}/a"]
    [mark] = found.marks
    assert "is not searched: the name of an artifact can have at most 200 characters" in mark


def test_the_root_may_be_reached_through_a_link(tmp_path: Path) -> None:
    make(tmp_path, "real/a")
    (tmp_path / "root").symlink_to("real")
    found = find_artifacts(str(tmp_path / "root"), ["*"], {}, 1000)
    os.close(file_opener(str(tmp_path / "root"), None)(found.files["a"]))


def test_a_directory_that_is_not_there_has_no_artifacts(tmp_path: Path) -> None:
    assert search(tmp_path / "none", "*").marks == ["no file matches '*'"]
