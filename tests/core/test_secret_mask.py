"""Secrets in arguments are hidden by the names of their fields, and come back into a copy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conveyor.core.secret_mask import DEEPEST, MASK, mask, mask_args, summary, unmask
from conveyor.errors import UsageError


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "dbPassword",
        "DB_PASSWORD",
        "api-token",
        "apitoken",
        "clientSecret",
    ],
)
def test_a_field_with_the_name_of_a_secret_is_masked(name: str) -> None:
    for value in ("x", 5, ["x"], {"a": "x"}, ""):
        assert mask({name: value}).value == {name: MASK}
    assert mask({"a": [{name: "x"}]}).masked == [f"/a/0/{name}"]


@pytest.mark.parametrize(
    "name", ["tokenizer", "max_tokens", "secretary", "passwords_count", "user"]
)
def test_a_field_whose_name_only_looks_like_it_is_shown(name: str) -> None:
    assert mask({name: 5}).value == {name: 5}
    assert mask({name: None, "password": None}).masked == []


def test_a_list_of_tokens_is_masked_and_a_number_of_tokens_is_not() -> None:
    assert mask({"tokens": ["a"], "max_tokens": 5}).value == {"tokens": MASK, "max_tokens": 5}


def test_the_password_in_a_url_is_masked_and_the_rest_of_it_is_shown() -> None:
    shown = mask({"url": "postgres://ann:geheim@db/x", "other": "https://example.org/a:b@c"})
    assert shown.value == {
        "url": f"postgres://ann:{MASK}@db/x",
        "other": "https://example.org/a:b@c",
    }
    assert shown.masked == ["/url"]


def test_secrets_in_the_query_of_a_url_are_masked() -> None:
    url = "postgresql://h/db?sslpassword=hunter2&sslkey=/key&password=hunter3#x"
    masked = mask({"url": url})
    assert masked.value == {
        "url": f"postgresql://h/db?sslpassword={MASK}&sslkey=/key&password={MASK}#x"
    }
    assert masked.masked == ["/url"]


def test_the_words_can_be_chosen() -> None:
    given = {"iban": "x", "password": "y", "api_key": "z"}
    assert mask(given, ("iban", "api_key")).value == {
        "iban": MASK,
        "password": "y",
        "api_key": MASK,
    }


def test_what_is_nested_too_deep_is_masked_as_a_whole() -> None:
    value: Any = {"password": "x"}
    for _ in range(DEEPEST + 5):
        value = [value]
    assert "x" not in str(mask(value).value)
    assert unmask(mask(value).value, value) == value


def test_an_edited_copy_has_the_secrets_of_the_original_where_they_are_still_masked() -> None:
    original: Any = {"a~b/c": {"token": "t"}, "list": [{"secret": "s"}, 1], "password": "p"}
    edited = mask(original).value
    edited["list"][1] = 2
    edited["password"] = "new"
    assert unmask(edited, original) == {
        "a~b/c": {"token": "t"},
        "list": [{"secret": "s"}, 2],
        "password": "new",
    }
    assert unmask({"list": []}, original) == {"list": []}


@pytest.mark.parametrize(
    ("edited", "place"),
    [
        ([{"n": 2, "secret": MASK}], "/0/secret"),  # the first one was deleted
        ([{"n": 2, "secret": MASK}, {"n": 1, "secret": MASK}], "/0/secret"),
        ([{"n": 1, "secret": MASK}, {"n": 2, "secret": MASK}, {"n": 3, "secret": MASK}], "/0/"),
        ([{"n": 1, "secret": "x"}, {"n": 2, "secret": f"a{MASK}"}], "/1/secret"),
        ({"secret": MASK}, "/secret"),
    ],
)
def test_no_value_gets_the_secret_of_another_and_no_mask_stays(edited: Any, place: str) -> None:
    original = [{"n": 1, "secret": "one"}, {"n": 2, "secret": "two"}]
    with pytest.raises(UsageError, match=f"{place}.* is still masked .* type its value"):
        unmask(edited, original)


def test_a_copy_as_deep_as_json_may_be_is_searched_for_masks_without_an_error() -> None:
    value = json.loads("[" * 900 + "]" * 900)
    assert unmask(value, {}) == value


def test_a_mask_that_the_original_has_itself_stays() -> None:
    original = {"a": f"see {MASK}", "token": "t"}
    assert unmask(mask(original).value, original) == original


def summarized(value: Any) -> str:
    return summary(json.dumps(value).encode())


def test_a_summary_is_one_short_line_without_secrets() -> None:
    text = summarized({"url": "https://x", "order": 17, "token": "geheim", "list": [1, "a\nb"]})
    assert text == f'url=https://x order=17 token={MASK} list=[1,"a\\nb"]'
    assert summarized({"a": "x\n\ty"}) == "a=x y"
    long = summarized({"a": "x" * 1000, "b": 1})
    assert len(long) == 120
    assert long.endswith("…")


def test_of_arguments_that_cannot_be_read_nothing_is_shown() -> None:
    too_deep = b'{"password":"geheim","a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    for args in (too_deep, b'{"password":"geheim', b'"geheim"', b"[]"):
        assert mask_args(args) is None
        assert summary(args) == ""
