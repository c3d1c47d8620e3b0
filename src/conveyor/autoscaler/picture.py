"""Lines over time, drawn as a PNG by hand: no library is worth its weight for two of them.

The file is written after the PNG specification (third edition): one byte a pixel, that names a
colour of a palette, and rows without a filter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from .text_chart import peaks

WIDTH, HEIGHT = 900, 220
LEFT, TOP, RIGHT, BOTTOM = 70, 30, 20, 30
PAPER, INK, GRID, FILL, LINE = range(5)
PALETTE = b"\xff\xff\xff\x33\x33\x33\xdd\xdd\xdd\xc6\xdb\xef\x21\x71\xb5"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SCALE = 2
# A letter is five rows of three dots; each digit of the text is a row, as a number.
LETTERS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711",
    "5": "74717", "6": "74757", "7": "71122", "8": "75757", "9": "75717",
    "a": "25755", "b": "65656", "c": "74447", "d": "65556", "e": "74647",
    "f": "74644", "g": "74557", "h": "55755", "i": "72227", "j": "11157",
    "k": "55655", "l": "44447", "m": "57755", "n": "65555", "o": "75557",
    "p": "75744", "q": "75571", "r": "75655", "s": "74717", "t": "72222",
    "u": "55557", "v": "55552", "w": "55775", "x": "55255", "y": "55722",
    "z": "71247", ".": "00002", " ": "00000",
}  # fmt: skip


def picture(at: Sequence[float], lines: Sequence[tuple[str, Sequence[float]]]) -> bytes:
    """Return a PNG with one panel for each line, below one another, over the same time."""
    rows: list[bytearray] = []
    for title, values in lines:
        rows += _panel(title, at, values)
    return png(rows, PALETTE)


def png(rows: Sequence[bytes | bytearray], palette: bytes) -> bytes:
    """Return an image as a PNG: each row has a byte for each pixel, that names its colour."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _panel(title: str, at: Sequence[float], values: Sequence[float]) -> list[bytearray]:
    rows = [bytearray(WIDTH) for _ in range(HEIGHT)]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    columns = peaks(at, values, width)
    most = max(columns, default=0.0) or 1.0
    floor = HEIGHT - BOTTOM
    for quarter in range(5):
        y = floor - height * quarter // 4
        rows[y][LEFT : WIDTH - RIGHT] = bytes([INK if quarter == 0 else GRID]) * width
        _write(rows, f"{most * quarter / 4:g}", LEFT - 8, y - 5, right=True)
    before = floor
    for x, value in enumerate(columns, LEFT):
        y = floor - round(height * value / most)
        for each in range(y, floor):
            rows[each][x] = FILL
        for each in range(min(y, before), max(y, before) + 1):
            rows[each][x] = LINE
        before = y
    lasted = (at[-1] - at[0]) / 3600 if at else 0.0
    _write(rows, title, LEFT, 10)
    _write(rows, "0 h", LEFT, floor + 10)
    _write(rows, f"{lasted:.1f} h", WIDTH - RIGHT, floor + 10, right=True)
    return rows


def _write(rows: list[bytearray], text: str, x: int, y: int, *, right: bool = False) -> None:
    """Draw a text, from `x` on, or so that it ends there."""
    step = 4 * SCALE
    start = x - step * len(text) if right else x
    for number, letter in enumerate(text.lower()):
        for row, dots in enumerate(LETTERS.get(letter, "00000")):
            for dot in range(3):
                if int(dots) & (4 >> dot):
                    _dot(rows, start + number * step + dot * SCALE, y + row * SCALE)


def _dot(rows: list[bytearray], x: int, y: int) -> None:
    for row in rows[y : y + SCALE]:
        row[x : x + SCALE] = bytes([INK]) * SCALE
