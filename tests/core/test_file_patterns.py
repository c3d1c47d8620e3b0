"""Patterns match as `pathlib` documents them, and in a time that does not explode."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.file_patterns import FilePatterns

NAMES = st.lists(st.sampled_from(["a", "b", "ab", ".a", "[a"]), min_size=1, max_size=5)
PARTS = st.sampled_from(["a", "b", "*", "**", "a*", "?", "[ab]", "[!a]", "[a", ".*"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=6)


def matches(name: str, *patterns: str) -> bool:
    return FilePatterns(patterns).matches(name)


def test_a_double_star_matches_any_number_of_directories() -> None:
    assert matches("a", "**/a")
    assert matches("b/c/a", "**/**/a")
    assert matches("b/c/a", "b/**/a")
    assert matches("b/a", "b/**/a")
    assert not matches("b/a", "b/**")
    assert not matches("b", "**")
    assert not matches("b/a", "a")
    assert not matches("a", "a/b")
    assert not matches("a/b/c", "a/b")


def test_the_patterns_that_match_are_told() -> None:
    patterns = FilePatterns(["*.x", "**/a.x", "a.*", "b", "**"])
    places = patterns.step(patterns.start, "a.x")
    assert sorted(patterns.matched(places)) == ["**/a.x", "*.x", "a.*"]
    assert patterns.step(patterns.start, "c") == patterns.step(
        FilePatterns(["**/a.x"]).start, "c"
    ) | patterns.step(patterns.start, "d")


def test_what_can_follow_is_known_where_no_sign_stands_for_more() -> None:
    patterns = FilePatterns(["out/a.txt", "out/b.txt", "log"])
    assert patterns.names(patterns.start) == {"out", "log"}
    assert patterns.names(patterns.step(patterns.start, "out")) == {"a.txt", "b.txt"}
    assert patterns.names(patterns.step(patterns.start, "log")) == frozenset()
    for pattern in ("*", "**/a", "[a]", "a?"):
        wide = FilePatterns(["out", pattern])
        assert wide.names(wide.start) is None


def test_a_double_star_does_not_go_through_a_link() -> None:
    patterns = FilePatterns(["**/a", "*/b"])
    inside = patterns.step(patterns.start, "link", through_link=True)
    assert patterns.matched(patterns.step(inside, "b")) == ["*/b"]
    assert not patterns.matched(patterns.step(inside, "a"))


def test_a_pattern_with_many_stars_costs_what_one_with_one_costs() -> None:
    deep = "/".join(["d"] * 99)
    assert matches(f"{deep}/x", "**/" * 30 + "x")
    assert not matches(f"{deep}/y", "**/" * 30 + "x")
    assert not matches(f"{deep}/y", "**/d/" * 30 + "x")
    assert not matches("a" * 200, "*a" * 90 + "b")
    assert matches("a" * 200, "*a" * 90)


@given(NAMES, st.lists(PATTERNS, min_size=1, max_size=3))
def test_they_match_as_a_search_by_trial_does(name: list[str], patterns: list[list[str]]) -> None:
    expected = any(pattern[-1] != "**" and tried(name, pattern) for pattern in patterns)
    assert matches("/".join(name), *map("/".join, patterns)) == expected


def tried(name: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return tried(name, pattern[1:]) or (bool(name) and tried(name[1:], pattern))
    return bool(name) and fnmatch.fnmatchcase(name[0], pattern[0]) and tried(name[1:], pattern[1:])


@pytest.mark.parametrize("number", [1, 1000])
def test_many_patterns_are_matched_at_once(number: int) -> None:
    patterns = FilePatterns([f"**/{each}.x" for each in range(number)])
    assert patterns.matches(f"a/b/{number - 1}.x")
    assert not patterns.matches(f"a/b/{number}.x")
