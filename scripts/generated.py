"""Updates the generated parts of the documentation: `python scripts/generated.py`.

A part is enclosed in `<!-- generated: NAME -->` and `<!-- end -->`. The tests fail if one is out of
date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
import python_api
import sample_system

from conveyor import errors
from conveyor.cli.main import COMMANDS, cli
from conveyor.cli.shared.top_screen import draw_screen
from conveyor.core import lifecycle
from conveyor.core.bounds import BOUNDS
from conveyor.core.job import FINAL, WAITING, ErrorInfo, JobRecord, Options, State
from conveyor.core.lifecycle import (
    Cancelled,
    Crashed,
    Failed,
    Interrupted,
    Snoozed,
    Succeeded,
    Unsupported,
)
from conveyor.drill.scenarios import SCENARIOS
from conveyor.server.openapi import openapi
from conveyor.settings import PREFIX, SETTINGS
from conveyor.store.http.problems import PROBLEMS

sys.path.append(str(Path(__file__).parents[1] / "bench" / "stopping"))
import table

ROOT = Path(__file__).parents[1]
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
API = ROOT / "docs" / "openapi.json"
BROKEN = ErrorInfo("E", "broken")

# outcome, retries, label of the arrow
ATTEMPTS = (
    (Succeeded(), 0, "succeeded"),
    (Failed(BROKEN), 1, "failed, tries left"),
    (Failed(BROKEN), 0, "failed, no tries left"),
    (Crashed(BROKEN), 0, "its worker died"),
    (Snoozed(1.0), 0, "snoozed"),
    (Unsupported(BROKEN), 0, "not known to the worker's code"),
    (Interrupted(), 0, "released"),
    (Cancelled("asked"), 0, "stopped on request"),
)


def states() -> str:
    """Draw the lifecycle from its rules."""
    arrows = [
        "[*] --> scheduled: enqueued for later",
        "[*] --> available: enqueued",
        "scheduled --> available: due",
        "retryable --> available: due",
        "available --> running: claimed",
    ]
    for outcome, retries, label in ATTEMPTS:
        move = lifecycle.settle(_job(State.RUNNING, retries=retries), outcome)
        arrows.append(f"running --> {move.state}: {label}")
    crashed = lifecycle.settle(_job(State.RUNNING, crashes=2), Crashed(BROKEN))
    arrows.append(f"running --> {crashed.state}: its worker died, the third time")
    arrows += [f"{state} --> {lifecycle.cancel(_job(state))}: cancel" for state in sorted(WAITING)]
    arrows += [f"{state} --> discarded: expired" for state in sorted(WAITING)]
    arrows.append("available --> discarded: dropped from a full queue")
    retried = sorted(FINAL | {State.RETRYABLE, State.SCHEDULED})
    arrows += [f"{state} --> {lifecycle.retry(_job(state))}: retry" for state in retried]
    return _fenced("mermaid", "\n".join(["stateDiagram-v2", *(f"    {each}" for each in arrows)]))


def commands() -> str:
    """Return the help of every command."""
    parts = [_fenced("text", _help(cli, "conveyor"))]
    with click.Context(cli, info_name="conveyor") as above:
        for name in COMMANDS:
            command = cli.get_command(above, name)
            assert command is not None
            parts += _sections(command, name, above)
    return "\n".join(parts)


def settings() -> str:
    """Return a table of all settings."""
    rows = ["| setting | environment | default | what it is |", "|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        default = "4, or the cores if more" if name == "concurrency" else _shown(setting.default)
        rows.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {setting.help} |")
    return "\n".join(rows) + "\n"


def scenarios() -> str:
    """Return a table of the drill's scenarios and their guarantees."""
    rows = ["| scenario | what is done | what is promised |", "|---|---|---|"]
    rows += [f"| `{each.name}` | {each.title} | {each.promise} |" for each in SCENARIOS]
    return "\n".join(rows) + "\n"


def exceptions() -> str:
    """Return the tree of exceptions from the docstring of their module."""
    tree = (inspect.getdoc(errors) or "").partition("\n\n")[2]
    return _fenced("text", tree)


def peers() -> str:
    """Return the stored results of the stopping benchmark."""
    return table.stored()


def problems() -> str:
    """Return a table of the errors of the HTTP API."""
    rows = ["| code | status | what it is |", "|---|--:|---|"]
    rows += [f"| `{code}` | {status} | {title} |" for code, (status, title, _) in PROBLEMS.items()]
    return "\n".join(rows) + "\n"


def bounds() -> str:
    """Return a table of the bounds of what is stored."""
    rows = ["| item | bound | beyond it |", "|---|---|---|"]
    rows += [
        f"| {each.what} | {each.limit:,} {each.unit} | {'cut' if each.is_cut else 'refused'} |"
        for each in BOUNDS.values()
    ]
    return "\n".join(rows) + "\n"


def python() -> str:
    """Return the reference of the public Python names."""
    return python_api.render()


def top() -> str:
    """Draw the screen of `conveyor top` for a sample of a system."""
    lines = draw_screen(sample_system.sample_overview(), 110, 24)
    return _fenced("text", "\n".join(line.plain.rstrip() for line in lines))


PARTS: dict[str, Callable[[], str]] = {
    "top": top,
    "states": states,
    "bounds": bounds,
    "commands": commands,
    "settings": settings,
    "scenarios": scenarios,
    "exceptions": exceptions,
    "peers": peers,
    "problems": problems,
    "python": python,
}


def render(text: str) -> str:
    """Return a document with its generated parts updated."""
    return PART.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], text)


def documents() -> list[Path]:
    """Return the documents with generated parts."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in found if PART.search(path.read_text()))


def api() -> bytes:
    """Return the OpenAPI document of the server."""
    return openapi(version("conveyor"))


def main() -> None:
    """Update every document."""
    for path in documents():
        path.write_text(render(path.read_text()))
        sys.stderr.write(f"{path.relative_to(ROOT)}\n")
    API.write_bytes(api())
    sys.stderr.write(f"{API.relative_to(ROOT)}\n")


def _job(state: State, *, retries: int = 0, crashes: int = 0) -> JobRecord:
    return JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=state, priority=0, run_at=0.0,
        enqueued_at=0.0, attempt=1, crashes=crashes, options=Options(retries=retries),
    )  # fmt: skip


def _help(command: click.Command, name: str, above: click.Context | None = None) -> str:
    context = click.Context(
        command,
        info_name=name,
        parent=above,
        terminal_width=88,
        help_option_names=["-h", "--help"],
    )
    with context:
        return command.get_help(context)


def _shown(value: object) -> str:
    match value:
        case None | () | "":
            return "none"
        case tuple():
            return ", ".join(map(str, value))
        case float():
            return f"{value:,.0f}"
        case _:
            return f"`{value}`" if isinstance(value, str) else str(value)


def _sections(command: click.Command, name: str, above: click.Context) -> list[str]:
    """Return the help of a command and its subcommands."""
    with click.Context(command, info_name=name, parent=above) as here:
        parts = [f"## {here.command_path}\n\n" + _fenced("text", _help(command, name, above))]
        below = command.commands if isinstance(command, click.Group) else {}
        for each, inner in below.items():
            parts += _sections(inner, each, here)
    return parts


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    main()
