"""Charts on a terminal and as a PNG, and the command that draws them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from conveyor.autoscaler.picture import HEIGHT, PALETTE, SIGNATURE, WIDTH, picture, png
from conveyor.autoscaler.text_chart import draw_text_chart, peaks
from conveyor.cli.main import run


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Read a PNG by its specification, checksums and all."""
    assert data.startswith(SIGNATURE)
    found: dict[bytes, bytes] = {}
    rest = data[len(SIGNATURE) :]
    while rest:
        [length] = struct.unpack(">I", rest[:4])
        kind, body = rest[4:8], rest[8 : 8 + length]
        assert struct.unpack(">I", rest[8 + length : 12 + length]) == (zlib.crc32(kind + body),)
        found[kind] = body
        rest = rest[12 + length :]
    return found


def test_a_chart_has_the_highest_value_of_each_stretch() -> None:
    assert peaks([0, 1, 2, 30], [1, 5, 2, 4], 3) == [5, 2, 4]
    assert peaks([], [], 3) == []
    assert peaks([7], [2], 2) == [2, 2]


def test_a_chart_is_as_high_as_its_highest_value() -> None:
    lines = draw_text_chart("machines", [0, 3600], [0, 8], width=8, height=2)
    assert lines == ["machines", "8 │       █", "0 │       █", "  └────────", "   0 h1.0 h"]
    assert draw_text_chart("none", [], [])[0] == "none"


def test_an_image_is_written_by_the_specification() -> None:
    found = chunks(png([b"\0\1", b"\1\0"], b"\xff\xff\xff\0\0\0"))
    assert list(found) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (2, 2, 8, 3, 0, 0, 0)
    assert zlib.decompress(found[b"IDAT"]) == b"\0\0\1\0\1\0"


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 12345.0]])
def test_a_picture_has_a_panel_for_each_line(values: list[float]) -> None:
    found = chunks(picture([0, 7200], [("machines", values), ("jobs that wait", values)]))
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (WIDTH, 2 * HEIGHT)
    pixels = zlib.decompress(found[b"IDAT"])
    assert len(pixels) == (WIDTH + 1) * 2 * HEIGHT
    assert max(pixels) < len(PALETTE) // 3


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs.csv").write_text("at,duration,labels\n0,60,\n10,60,gpu\n")
    (tmp_path / "scale.toml").write_text("[pools.plain]\nmax = 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SIMULATE = ["scale", "simulate", "--trace", "jobs.csv", "--policy", "scale.toml"]


def test_the_command_prints_figures_and_charts_and_draws_a_picture(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*SIMULATE, "--png", "out.png"]) == 0
    said = capsys.readouterr()
    assert "jobs killed on busy agents\t0" in said.out
    assert "jobs that no machine may run\t1" in said.out
    assert "█" in said.out
    assert "drawn: out.png" in said.err
    chunks((files / "out.png").read_bytes())


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
        (["--png", "no/where.png"], "the picture 'no/where.png' cannot be written"),
    ],
)
def test_wrong_use_is_said(
    files: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run([*SIMULATE, *options]) == 2
    assert said in capsys.readouterr().err
