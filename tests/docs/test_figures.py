"""The figures in README agree with the programs that print them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from blocks import ROOT, blocks

README = ROOT / "README.md"
STEP = re.compile(r'^ *step "([^"]+)"', re.MULTILINE)


def shown(command: str) -> str:
    """Return what README shows below a command."""
    [text] = [each.text for each in blocks(README) if each.text.startswith(f"$ {command}\n")]
    return text


def test_the_readme_shows_the_steps_that_the_test_script_prints() -> None:
    with_arguments, complete = (ROOT / "test").read_text().split("\nif [ $# -gt 0 ]; then\n")
    steps = STEP.findall(with_arguments) + STEP.findall(complete.split("\nfi\n")[1])
    # What runs in the background is printed after what runs in front of it.
    assert sorted(re.findall(r"^== (.*)$", shown("./test"), re.MULTILINE)) == sorted(steps)


def test_the_readme_shows_about_as_many_tests_as_there_are(test_count: int | None) -> None:
    passed = sum(map(int, re.findall(r"(\d+) passed", shown("./test"))))
    assert passed == pytest.approx(test_count or count_tests(), rel=0.05)


def count_tests() -> int:
    """Return how many tests there are; a run of all of them knows that without this."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^(\d+)(?:/\d+)? tests collected", listed, re.MULTILINE)
    assert found is not None, listed[-500:]
    return int(found[1])


def test_the_readme_s_counts_of_the_main_job_agree_with_each_other() -> None:
    text = shown("./run").replace(",", "")
    by_kind = [
        int(count) for count in re.findall(r"^│ \w+ +│ completed │ +(\d+) ", text, re.MULTILINE)
    ]
    [total] = [int(count) for count in re.findall(r"^│ all +│ +│ +(\d+) ", text, re.MULTILINE)]
    bars = re.findall(r"^(?:enqueued|done) .* (\d+)/(\d+) ", text, re.MULTILINE)
    [(new, seconds, rate)] = re.findall(
        r"^(\d+) new jobs in ([\d.]+) s: (\d+) jobs/s", text, re.MULTILINE
    )
    assert len(by_kind) == 4
    assert len(set(by_kind)) == 1
    assert total == sum(by_kind) == int(new)
    assert bars == [(str(total), str(total))] * 2
    assert int(rate) == round(int(new) / float(seconds))
