"""The page of the Python API has everything that is public, and everything has a text."""

from __future__ import annotations

import inspect
import sys

import pytest
from blocks import ROOT

import conveyor
from conveyor import errors, testing
from conveyor.client.options import RULES

sys.path.insert(0, str(ROOT / "scripts"))
import python_api

SHOWN = [name for names in python_api.SECTIONS.values() for name in names]
CLASSES = [name for name in SHOWN if inspect.isclass(python_api.public(name))]
PAGE = (ROOT / "docs" / "python.md").read_text()


def test_every_public_name_is_on_the_page_once() -> None:
    assert sorted(SHOWN) == sorted([*conveyor.__all__, "FakeClock"])
    assert [name for name in SHOWN if PAGE.count(f"\n### {name}\n") != 1] == []
    defined = [name for name, value in vars(testing).items() if inspect.isclass(value)]
    assert defined == ["FakeClock"]


def test_every_exception_can_be_imported_from_the_package() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert raised - set(conveyor.__all__) == set()


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_member_is_on_the_page_with_a_text(name: str) -> None:
    assert inspect.getdoc(python_api.public(name))
    for member in python_api.members(name):
        assert f"\n#### {name}.{member.name}\n" in PAGE
        assert member.text, f"{name}.{member.name} has no docstring"
        assert "?" not in member.written


def test_what_is_left_out_exists() -> None:
    for name, hidden in python_api.INTERNAL.items():
        cls = python_api.public(name)
        written = inspect.getsource(cls)
        assert [each for each in hidden if not hasattr(cls, each) and each not in written] == []


def test_every_option_is_described_where_it_is_given() -> None:
    using = inspect.getdoc(conveyor.TaskFunction.using) or ""
    assert [option for option in RULES if f"`{option}`" not in using] == []
    worker = inspect.getdoc(conveyor.WorkerOptions) or ""
    fields = conveyor.WorkerOptions.__struct_fields__
    assert [field for field in fields if f"`{field}`" not in worker] == []
    for text in ("`name` identifies", "`run` is", "name: str | None", "run: Kind | None"):
        assert PAGE.count(text) >= 2, text
