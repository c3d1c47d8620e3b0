"""Each row of the threat model names tests that exist, and each of its actors has rows."""

from __future__ import annotations

import re

from blocks import ROOT

ACTORS = (
    "anybody who reaches the server's port", "any token", "a token with `enqueue`",
    "a token with `read`", "a token with `agent`, a hostile agent", "a token limited to queues",
    "a token with `admin`", "a job as the worker's own user", "a command under `--run-as`",
    "another user of the machine", "a hostile server, to a client", "a hostile server, to an agent",
    "a web page in the operator's browser", "who reaches the port of a worker's metrics",
    "who enqueues jobs",
    "who writes names, errors or output that an operator reads", "who writes the database file",
    "a power cut, or who cuts connections",
)  # fmt: skip
TESTS = {
    name
    for path in (ROOT / "tests").glob("*/test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table of the threat model, without its heading."""
    part = text.partition("\n## Threat model\n")[2].partition("\n\n**")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def missing(found: list[list[str]]) -> list[str]:
    """Return the rows without a test, and the tests that do not exist."""
    named = {row[2]: re.findall(r"`(test_\w+)`", row[4]) for row in found}
    untested = [attempt for attempt, names in named.items() if not names]
    return untested + [name for names in named.values() for name in names if name not in TESTS]


def test_every_row_of_the_threat_model_names_tests_that_exist() -> None:
    found = rows((ROOT / "docs" / "security.md").read_text())
    assert [row for row in found if len(row) != 5 or not row[2] or not row[3]] == []
    assert missing(found) == []
    assert tuple(row[0] for row in found if row[0]) == ACTORS


def test_a_row_without_a_test_and_a_test_that_does_not_exist_are_found() -> None:
    table = "\n## Threat model\n\n| a |\n|---|\n| w | m | n | p | `test_nothing` |\n| | | x | p | |"
    assert missing(rows(table)) == ["x", "test_nothing"]
