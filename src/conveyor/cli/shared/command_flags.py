"""The flags that say what commands may do on a worker, for every command that starts one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ...core.command_policy import CommandRules, read_limits
from ...errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

# What click hands over -> how it is written.
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
            click.option("--run-as", metavar="USER", help="Who commands run as; needs root."),
            click.option("--clean-env", is_flag=True, help="Keep this environment from commands."),
            click.option(
                "--keep-env",
                metavar="NAME",
                multiple=True,
                help="A variable that passes into a clean environment.",
            ),
            click.option(
                "--limit",
                "limits",
                metavar="NAME=VALUE",
                multiple=True,
                help="For each command: memory=2G, cpu=10m, files=256M, processes=200, open=1024.",
            ),
        )
    ):
        command = option(command)
    return command


def command_rules(flags: Mapping[str, Any], *, allowed: bool, only: bool = False) -> CommandRules:
    """Return the rules that the flags of `command_options` make; UsageError if they are none."""
    given = [written for name, written in FLAGS.items() if flags[name]]
    if given and not allowed:
        raise UsageError(
            f"{given[0]} says how commands run, but they are not allowed here: "
            "allow them, or leave it out"
        )
    if flags["keep_env"] and not flags["clean_env"]:
        raise UsageError("--keep-env names what passes into a clean environment: add --clean-env")
    return CommandRules(
        allowed=allowed,
        only=only,
        user=flags["run_as"],
        clean_env=flags["clean_env"],
        keep_env=tuple(flags["keep_env"]),
        **read_limits(flags["limits"]),
    )
