"""How a drill is shown: scene by scene to a person, line by line to a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .runner import Played
from .verdict import Check, Row

HEADINGS = ("SCENE", "JOB", "KEPT", "PROMISED", "HAPPENED")


def lines(played: Sequence[Played]) -> list[tuple[str, ...]]:
    """Return what a program reads, below `HEADINGS`."""
    return [
        (
            scene.name,
            row.subject,
            "yes" if row.kept else "NO",
            ", ".join(check.promised for check in row.checks),
            row.happened,
        )
        for scene in played
        for row in scene.rows
    ]


def as_data(played: Sequence[Played]) -> list[dict[str, Any]]:
    """Return what --json prints of the scenes."""
    return [
        {
            "name": scene.name,
            "promise": scene.promise,
            "kept": scene.kept,
            "seconds": round(scene.took, 3),
            "rows": [
                {"subject": row.subject, "kept": row.kept, "checks": row.checks, "facts": row.facts}
                for row in scene.rows
            ],
        }
        for scene in played
    ]


def drawn(played: Sequence[Played]) -> RenderableType:
    """Return what a person reads."""
    # One width for all scenes, so that the eye runs down the page.
    widest = max((len(row.subject) for scene in played for row in scene.rows), default=0)
    return Group(*(_scene(scene, widest) for scene in played))


def verdict(played: Sequence[Played], took: float) -> str:
    """Say in a sentence how it went."""
    checks = [check for scene in played for row in scene.rows for check in row.checks]
    broken = [check for check in checks if not check.kept]
    scenes = f"{len(played)} scene" + ("" if len(played) == 1 else "s")
    if not broken:
        return f"All {len(checks)} promises in {scenes} were kept, seen within {took:.0f} s."
    where = ", ".join(scene.name for scene in played if not scene.kept)
    return f"{len(broken)} of {len(checks)} promises in {scenes} were not kept: see {where}."


def stories(played: Sequence[Played]) -> list[str]:
    """Tell of each line that differs what was promised, what happened, and what was seen."""
    told: list[str] = []
    for scene in played:
        for row in scene.rows:
            if not row.kept:
                told += ["", f"{scene.name}, {row.subject}", *map(_differs, _broken(row))]
                told += [f"    {fact}" for fact in row.facts]
    return told


def _scene(scene: Played, widest: int) -> RenderableType:
    mark, style = _mark(kept=scene.kept)
    title = Text.assemble(
        (f"{mark} ", style), (scene.title, "bold"), (f"  {scene.name}, {scene.took:.1f} s", "dim")
    )
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(width=1)
    rows.add_column(min_width=widest, no_wrap=True)
    rows.add_column()
    for each in scene.rows:
        rows.add_row(Text(*_mark(kept=each.kept)), each.subject, _happened(each))
    promise = Padding(Text(scene.promise, "italic dim"), (0, 0, 0, 2))
    return Group(title, promise, Padding(rows, (0, 0, 1, 2)))


def _happened(row: Row) -> Text:
    return Text(", ").join(Text(check.happened, _style(check)) for check in row.checks)


def _style(check: Check) -> str:
    """Broken promises leap to the eye, then figures; the rest is there to be looked up."""
    if not check.kept:
        return "bold red"
    return "" if any(letter.isdigit() for letter in check.happened) else "dim"


def _mark(*, kept: bool) -> tuple[str, str]:
    return ("✓", "green") if kept else ("✗", "bold red")


def _broken(row: Row) -> list[Check]:
    return [check for check in row.checks if not check.kept]


def _differs(check: Check) -> str:
    return f"  promised: {check.promised}; happened: {check.happened}"
