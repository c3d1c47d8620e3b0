"""The recipes for other packages work because of their hooks: without them they fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import ROOT, Block, Reader, blocks

from conveyor.core.events import EVENTS

PAGE = ROOT / "docs" / "events.md"


@pytest.mark.parametrize("package", ["structlog", "close_old_connections"])
def test_a_recipe_fails_without_its_hook(package: str, tmp_path: Path) -> None:
    [recipe] = [block for block in blocks(PAGE) if package in block.text]
    reader = Reader(tmp_path)
    reader.follow(recipe)
    with pytest.raises(AssertionError):
        reader.follow(recipe._replace(text=recipe.text.replace("@belt.around\n", "")))


def test_without_the_recipe_sentry_gets_no_context_of_the_job(tmp_path: Path) -> None:
    hooks, shown = [block for block in blocks(PAGE) if "sentry_sdk" in block.text]
    reader = Reader(tmp_path)
    reader.follow(hooks)
    reader.follow(shown)
    without = shown.text.replace("sentry_hooks.install(belt)\n", "")
    with pytest.raises(AssertionError):
        reader.follow(Block(1, "python", without))


def test_every_event_is_in_the_table() -> None:
    text = PAGE.read_text()
    assert [event for event in EVENTS if f"`{event.__name__}`" not in text] == []
    names = [event.name for event in EVENTS if event.name.startswith(("job", "scaler"))]
    assert [name for name in names if f"`{name}`" not in text] == []
