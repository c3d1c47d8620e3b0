"""The options that restrict the commands that a worker runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ...core.command_policy import CommandRules, read_limits
from ...errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

# Parameter name -> option.
FLAGS = {
    "run_as": "--run-as",
    "clean_env": "--clean-env",
    "keep_env": "--keep-env",
    "limits": "--limit",
}


def command_options(command: F) -> F:
    """Add --run-as, --clean-env, --keep-env and --limit; `command_rules` reads them."""
    for option in reversed(
        (
            click.option(
                "--run-as", metavar="USER", help="User to run commands as; requires root."
            ),
            click.option(
                "--clean-env", is_flag=True, help="Run commands with a minimal environment."
            ),
            click.option(
                "--keep-env",
                metavar="NAME",
                multiple=True,
                help="Variable to keep under --clean-env; repeatable.",
            ),
            click.option(
                "--limit",
                "limits",
                metavar="NAME=VALUE",
                multiple=True,
                help="Resource limit of each command, like memory=2G, cpu=10m, files=256M, "
                "processes=200 or open=1024; repeatable.",
            ),
        )
    ):
        command = option(command)
    return command


def command_rules(flags: Mapping[str, Any], *, allowed: bool, only: bool = False) -> CommandRules:
    """Return the rules that the options of `command_options` describe; UsageError if invalid."""
    given = [written for name, written in FLAGS.items() if flags[name]]
    if given and not allowed:
        raise UsageError(
            f"{given[0]} applies to commands, which are not allowed here: "
            "allow commands or remove the option"
        )
    if flags["keep_env"] and not flags["clean_env"]:
        raise UsageError("--keep-env requires --clean-env")
    return CommandRules(
        allowed=allowed,
        only=only,
        user=flags["run_as"],
        clean_env=flags["clean_env"],
        keep_env=tuple(flags["keep_env"]),
        **read_limits(flags["limits"]),
    )
