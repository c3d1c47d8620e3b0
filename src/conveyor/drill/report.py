"""Formats the results of a drill: for people, as a table for programs, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..core.foreign_text import escape_line
from .checks import Check, Row
from .runner import ScenarioResult

HEADINGS = ("SCENARIO", "JOB", "KEPT", "PROMISED", "HAPPENED")


def table_rows(results: Sequence[ScenarioResult]) -> list[tuple[str, ...]]:
    """Return the rows of the table under `HEADINGS`."""
    return [
        (
            scenario.name,
            row.subject,
            "yes" if row.kept else "NO",
            ", ".join(check.promised for check in row.checks),
            row.happened,
        )
        for scenario in results
        for row in scenario.rows
    ]


def results_as_json(results: Sequence[ScenarioResult]) -> list[dict[str, Any]]:
    """Return the scenarios as --json prints them."""
    return [
        {
            "name": scenario.name,
            "promise": scenario.promise,
            "kept": scenario.kept,
            "seconds": round(scenario.took, 3),
            "rows": [
                {"subject": row.subject, "kept": row.kept, "checks": row.checks, "facts": row.facts}
                for row in scenario.rows
            ],
        }
        for scenario in results
    ]


def render(results: Sequence[ScenarioResult]) -> RenderableType:
    """Return the report for people."""
    # All scenarios have the same column widths.
    widest = max((len(row.subject) for scenario in results for row in scenario.rows), default=0)
    return Group(*(_render_scenario(scenario, widest) for scenario in results))


def summary(results: Sequence[ScenarioResult], took: float) -> str:
    """Return the overall result in one sentence."""
    checks = [check for scenario in results for row in scenario.rows for check in row.checks]
    broken = [check for check in checks if not check.kept]
    scenarios = f"{len(results)} scenario" + ("" if len(results) == 1 else "s")
    if not broken:
        return f"All {len(checks)} promises in {scenarios} were kept ({took:.0f} s)."
    where = ", ".join(scenario.name for scenario in results if not scenario.kept)
    return f"{len(broken)} of {len(checks)} promises in {scenarios} were not kept: see {where}."


def failure_details(results: Sequence[ScenarioResult]) -> list[str]:
    """Return, for each row with a broken promise, what was promised and what happened."""
    lines: list[str] = []
    for scenario in results:
        for row in scenario.rows:
            if not row.kept:
                lines += ["", f"{scenario.name}, {row.subject}", *map(_difference, _broken(row))]
                lines += [f"    {fact}" for fact in row.facts]
    return lines


def _render_scenario(scenario: ScenarioResult, widest: int) -> RenderableType:
    mark, style = _mark(kept=scenario.kept)
    title = Text.assemble(
        (f"{mark} ", style),
        (scenario.title, "bold"),
        (f"  {scenario.name}, {scenario.took:.1f} s", "dim"),
    )
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(width=1)
    rows.add_column(min_width=widest, no_wrap=True)
    rows.add_column()
    for each in scenario.rows:
        rows.add_row(Text(*_mark(kept=each.kept)), Text(escape_line(each.subject)), _happened(each))
    promise = Padding(Text(scenario.promise, "italic dim"), (0, 0, 0, 2))
    return Group(title, promise, Padding(rows, (0, 0, 1, 2)))


def _happened(row: Row) -> Text:
    return Text(", ").join(Text(escape_line(check.happened), _style(check)) for check in row.checks)


def _style(check: Check) -> str:
    """Highlight broken promises, and dim what has no figures."""
    if not check.kept:
        return "bold red"
    return "" if any(letter.isdigit() for letter in check.happened) else "dim"


def _mark(*, kept: bool) -> tuple[str, str]:
    return ("✓", "green") if kept else ("✗", "bold red")


def _broken(row: Row) -> list[Check]:
    return [check for check in row.checks if not check.kept]


def _difference(check: Check) -> str:
    return f"  promised: {check.promised}; happened: {check.happened}"
