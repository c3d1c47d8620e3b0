"""mypy and the sample agree about every line: where an error is expected, and where none is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ERROR = r"sample\.py:(\d+): error: .*\[([a-z-]+)\]$"
SAMPLE = Path(__file__).parent / "typing" / "sample.py"


def test_mypy_finds_the_expected_errors_and_no_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(SAMPLE)]
    ran = subprocess.run(
        [*command, "--cache-dir", str(tmp_path), "--config-file", ""],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=SAMPLE.parent,
    )
    found = {
        (int(line), code)
        for line, code in re.findall(
            r"sample\.py:(\d+): error: .*\[([a-z-]+)\]$", ran.stdout, re.MULTILINE
        )
    }
    expected = {
        (number, code)
        for number, line in enumerate(SAMPLE.read_text().splitlines(), 1)
        for code in re.findall(r"# expect: ([a-z-]+)$", line)
    }
    assert found == expected, ran.stdout + ran.stderr
