"""What a command job may run, and with what environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conveyor.core.command import Command, command_task, require_command_label, validate_command
from conveyor.core.job import COMMAND_TASK, Options
from conveyor.errors import UsageError


def test_a_command_is_stored_as_it_was_given() -> None:
    given: dict[str, Any] = {"env": {"A": "1"}, "inherit_env": False, "ok_exit_codes": [2, 0, 2]}
    made = validate_command(["make", ""], cwd=Path("/src"), **given)
    assert made == Command(
        argv=("make", ""), env={"A": "1"}, inherit_env=False, cwd="/src", ok_exit_codes=(0, 2)
    )
    assert validate_command(["true"]) == Command(argv=("true",))
    assert Command(argv=("true",)).inherit_env


@pytest.mark.parametrize(
    ("argv", "given", "said"),
    [
        ([], {}, "must name a program"),
        ([""], {}, "must name a program"),
        (["a", 7], {}, "must be strings, got 7"),
        (["a"], {"env": {"A": 7}}, "must be strings, got 7"),
        (["a\0"], {}, "must not contain NUL"),
        (["a"], {"env": {"A\0": "1"}}, "must not contain NUL"),
        (["a"], {"cwd": "/\0"}, "must not contain NUL"),
        (["\udcff"], {}, "must be valid UTF-8"),
        (["a"], {"ok_exit_codes": []}, "one or more numbers from 0 to 255"),
        (["a"], {"ok_exit_codes": [0, 256]}, "one or more numbers from 0 to 255"),
        (["a"], {"ok_exit_codes": [-1]}, "one or more numbers from 0 to 255"),
    ],
)
def test_a_command_that_no_system_could_run_is_refused(
    argv: list[Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        validate_command(argv, **given)


def test_any_exit_code_can_count_as_success() -> None:
    codes = tuple(range(256))
    assert validate_command(["a"], ok_exit_codes=codes).ok_exit_codes == codes


def test_a_command_needs_a_worker_that_runs_commands() -> None:
    assert command_task().kind == "command"
    assert command_task().name == COMMAND_TASK
    assert require_command_label(Options(requires=("gpu",))).requires == ("commands", "gpu")
    assert require_command_label(Options(requires=("commands",))).requires == ("commands",)
