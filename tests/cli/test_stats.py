"""`conveyor stats` and `conveyor mark`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.shared.sparkline import sparkline
from conveyor.cli.stats import STEPS


def test_stats_show_what_happened_in_a_queue(conveyor: Command, belt: Conveyor) -> None:
    for _ in range(3):
        belt.functions["send"].enqueue("ann")
    belt.work(queues=["mail"], timeout=60)
    ran = conveyor("stats", "mail")
    assert ran.code == 0
    head, *rows = [line.split("\t") for line in ran.out.splitlines() if "\t" in line]
    assert head[:4] == ["TIME", "ENQUEUED", "STARTED", "COMPLETED"]
    assert [sum(int(row[column]) for row in rows) for column in (1, 2, 3)] == [3, 3, 3]
    assert len(rows) in (12, 13)
    assert "3 in all" in ran.out


def test_stats_as_json_are_the_history(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    data = conveyor("stats", "--since", "2h", "--step", "10m", "--json").data
    assert (data["queue"], data["step"]) == (None, 600.0)
    assert sum(point["enqueued"] for point in data["points"]) == 1
    assert len(data["points"]) == 12


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nowhere"], 3, "nowhere"),
        (["--since", "8d"], 2, "the history is kept for 7 days"),
        (["--since", "soon"], 2, "a duration must be"),
        (["--step", "90s"], 2, "step must be a multiple of 60 seconds"),
        (["--since", "7d", "--step", "1m"], 2, "ask for a step of"),
    ],
)
def test_stats_refuse_what_makes_no_sense(
    conveyor: Command, belt: Conveyor, args: list[str], code: int, said: str
) -> None:
    belt.functions["send"].enqueue("ann")
    ran = conveyor("stats", *args)
    assert ran.code == code
    assert said in ran.err


@pytest.mark.parametrize("since", ["1h", "7d"])
def test_stats_fit_a_narrow_terminal(belt: Conveyor, folder: Path, since: str) -> None:
    for to in ("ann", "nobody"):
        belt.functions["send"].enqueue(to)
    belt.work(queues=["mail"], timeout=60)
    belt.functions["send"].enqueue("ann").cancel()
    printed = on_a_terminal(folder, "stats", "--since", since)
    assert max(map(len, printed)) <= 80, printed
    assert any("COMPLETED" in line for line in printed)


def on_a_terminal(folder: Path, *args: str) -> list[str]:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "conveyor", *args], cwd=folder, stdout=theirs,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(theirs)
    printed = b""
    try:
        while piece := os.read(ours, 1 << 16):
            printed += piece
    except OSError:  # so a terminal ends on Linux
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return printed.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()


def test_each_step_is_a_multiple_of_a_minute() -> None:
    assert all(step % 60 == 0 for step in STEPS)


def test_a_line_of_numbers_has_a_block_for_each() -> None:
    assert sparkline([0, 1, 4, 8]) == "·▂▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "··"


def test_a_mark_is_noted_listed_and_audited(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    assert conveyor("mark", "deployed 4f2c1e9").code == 0
    assert conveyor("mark", "rolled back", "--json").data["text"] == "rolled back"
    ran = conveyor("mark")
    assert [line.split("\t")[1:3] for line in ran.out.splitlines()[1:]] == [
        ["note", "rolled back"],
        ["note", "deployed 4f2c1e9"],
    ]
    first = conveyor("mark", "--limit", "1")
    assert "There are more entries: --before 2" in first.err
    audit = conveyor("audit", "--json").data
    assert [(each["what"], each["detail"]) for each in audit] == [
        ("mark", "rolled back"),
        ("mark", "deployed 4f2c1e9"),
    ]


def test_a_mark_is_one_line(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    ran = conveyor("mark", "a\nb")
    assert ran.code == 2
    assert "must be one line of 1 to 200 characters" in ran.err
