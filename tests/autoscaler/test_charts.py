"""Charts on a terminal and as a PNG, and the command that draws them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from conveyor.autoscaler.png_chart import draw_png
from conveyor.autoscaler.text_chart import draw_text_chart, peaks
from conveyor.cli.main import run


def png_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a PNG file, by its specification."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data[12:16] == b"IHDR"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_a_chart_shows_the_highest_value_of_each_interval() -> None:
    assert peaks([0, 1, 2, 30], [1, 5, 2, 4], 3) == [5, 2, 4]
    assert peaks([], [], 3) == []
    assert peaks([7], [2], 2) == [2, 2]


def test_a_chart_is_as_high_as_its_highest_value() -> None:
    lines = draw_text_chart("machines", [0, 3600], [0, 8], width=8, height=2)
    assert lines == ["machines", "8 │       █", "0 │       █", "  └────────", "   0 h1.0 h"]
    assert draw_text_chart("none", [], [])[0] == "none"


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 12345.0]])
def test_a_png_has_a_panel_for_each_line(tmp_path: Path, values: list[float]) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    draw_png(str(one), [0, 7200], [("machines", values)])
    draw_png(str(two), [0, 7200], [("machines", values), ("waiting jobs", values)])
    assert png_size(one) == (900, 240)
    assert png_size(two) == (900, 480)


def test_the_highest_value_is_the_highest_point_drawn(tmp_path: Path) -> None:
    path = str(tmp_path / "chart.png")
    draw_png(path, [0, 3600, 7200], [("machines", [0, 4, 0])])
    red, green, blue, _ = imread(path).transpose(2, 0, 1)
    line = (blue - red > 0.3) & (blue > green)
    rows, columns = line.nonzero()
    # The value holds from the second look to the third: the right half, up to the top.
    peak = columns[rows == rows.min()]
    assert rows.min() < 60
    assert 450 < peak.min() < 550
    assert peak.max() > 800


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs.csv").write_text("at,duration,labels\n0,60,\n10,60,gpu\n")
    (tmp_path / "scale.toml").write_text("[pools.plain]\nmax = 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SIMULATE = ["scale", "simulate", "--trace", "jobs.csv", "--policy", "scale.toml"]


def test_the_command_prints_figures_and_charts_and_draws_a_png(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*SIMULATE, "--png", "out.png"]) == 0
    said = capsys.readouterr()
    assert "jobs killed on busy agents\t0" in said.out
    assert "jobs that no machine may run\t1" in said.out
    assert "█" in said.out
    assert "chart: out.png" in said.err
    assert png_size(files / "out.png") == (900, 480)


def test_without_its_library_a_png_is_refused_with_the_install_command(files: Path) -> None:
    program = f"""
import sys
sys.modules["matplotlib"] = None
from conveyor.cli.main import run
sys.exit(run({[*SIMULATE, "--png", "out.png"]!r}))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr == (
        "conveyor: --png needs matplotlib: install it with `pip install conveyor[charts]`\n"
    )
    assert ran.stdout == ""
    assert not (files / "out.png").exists()


def test_the_command_prints_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SIMULATE, "--boot", "2m", "--every", "5s", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["jobs"], figures["p95"], figures["kills"]) == (1, 120, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--every", "0"], "--every must be more than 0 seconds, got '0'"),
        (["--trace", "none.csv"], "cannot read the trace 'none.csv'"),
        (["--policy", "none.toml"], "cannot read the policy 'none.toml'"),
        (["--png", "no/where.png"], "cannot write the chart 'no/where.png'"),
    ],
)
def test_wrong_usage_is_an_error(
    files: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run([*SIMULATE, *options]) == 2
    assert said in capsys.readouterr().err
