"""Unique keys that are made of arguments: the language, and what cannot be part of a key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.core.key_template import KeyTemplate, literal_key, parse_key
from conveyor.errors import UsageError


def render(text: str, args: dict[str, Any], **defaults: Any) -> str:
    template = parse_key(text)
    assert isinstance(template, KeyTemplate)
    return msgspec.structs.replace(template, defaults=defaults).render(msgspec.json.encode(args))


@pytest.mark.parametrize(
    ("text", "args", "key"),
    [
        ("report:{user}", {"user": "ann"}, "report:ann"),
        ("{a}{b}", {"a": 1, "b": -2}, "1-2"),
        ("{a}:{a}", {"a": True}, "true:true"),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        ("{order.id}", {"order": {"id": 7, "rest": [1]}}, "7"),
        ("{order.by.name}", {"order": {"by": {"name": "ann"}}}, "ann"),
        ("{größe}", {"größe": "ü"}, "ü"),
        ("{a}", {"a": "{b}"}, "{b}"),
    ],
)
def test_each_place_is_the_value_of_its_argument(text: str, args: dict[str, Any], key: str) -> None:
    assert render(text, args) == key


def test_an_argument_that_is_left_out_has_its_default() -> None:
    assert render("{a}:{b}", {"a": 1}, b=2) == "1:2"
    assert render("{a}:{b}", {"a": 1, "b": 3}, b=2) == "1:3"


def test_a_key_without_places_is_the_same_for_every_call() -> None:
    assert parse_key("nightly {{1}}") == "nightly {1}"


@given(st.text())
def test_a_literal_key_is_what_it_was(key: str) -> None:
    if len(literal_key(key)) <= 1000:
        assert parse_key(literal_key(key)) == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a{", "a single '{': write '{{'"),
        ("a}b", "a single '}': write '}}'"),
        ("{a", "a single '{'"),
        ("{}", r"\{\} is not the name of an argument"),
        ("{0}", "is not the name"),
        ("{a:>3}", "no formats"),
        ("{a!r}", "no conversions"),
        ("{a.}", "is not the name"),
        ("{a[0]}", "is not the name"),
        ("x" * 1001, "at most 1000 characters"),
        ("{a}" * 21, "names 21 arguments, the limit is 20"),
    ],
)
def test_what_is_no_template_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_key(text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "'a' is None in JSON"),
        (1.5, "'a' is 1.5 in JSON, and only strings, integers and booleans"),
        ([1], r"'a' is \[1\]"),
        ({"id": 1}, "name a field of it"),
    ],
)
def test_a_value_that_has_several_spellings_or_none_cannot_be_in_a_key(
    value: object, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        render("{a}", {"a": value})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "needs 'a.b', which the call does not have"),
        ({"a": {}}, "needs 'a.b', which the call does not have"),
        ({"a": 1}, "but 'a' is 1, which has no fields"),
    ],
)
def test_a_field_that_is_not_there_is_named(args: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        render("{a.b}", args)
