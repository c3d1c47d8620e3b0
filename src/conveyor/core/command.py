"""A command as a job: an argument vector with its environment, never a shell string."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ..errors import UsageError
from .bounds import checked_integer
from .files import is_text
from .job import COMMAND_TASK, COMMANDS, Options
from .task import Task, task


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to run. `env` is added to the environment from the worker, or replaces it."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    inherit_env: bool = True
    cwd: str | None = None
    ok_exit_codes: tuple[int, ...] = (0,)


def validate_command(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    inherit_env: bool = True,
    cwd: str | Path | None = None,
    ok_exit_codes: Iterable[int] = (0,),
) -> Command:
    """Return a valid command; UsageError otherwise."""
    if not argv or not argv[0]:
        raise UsageError("a command must name a program, like belt.command('make', 'test')")
    texts: list[object] = [*argv, *(env or {}), *(env or {}).values()]
    if cwd is not None:
        texts.append(str(cwd))
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"a command's arguments and environment must be strings, got {text!r}")
        if "\0" in text:
            raise UsageError(
                f"a command's arguments and environment must not contain NUL, got {text!r}"
            )
        if not is_text(text):
            raise UsageError(
                f"a command's arguments, environment and cwd must be valid UTF-8, got {text!r}"
            )
    for name in env or {}:
        if not name or "=" in name:
            raise UsageError(f"a variable's name must not be empty or contain '=', got {name!r}")
    codes = _exit_codes(ok_exit_codes)
    return Command(
        argv=tuple(argv),
        env=dict(env or {}),
        inherit_env=inherit_env,
        cwd=None if cwd is None else str(cwd),
        ok_exit_codes=codes,
    )


def _exit_codes(given: Iterable[int]) -> tuple[int, ...]:
    try:
        codes = tuple(sorted({checked_integer(code, most=255) for code in given}))
    except (TypeError, UsageError):
        codes = ()
    if not codes:
        raise UsageError(f"ok_exit_codes must be one or more numbers from 0 to 255, got {given!r}")
    return codes


def command_task() -> Task:
    """Return the task that every command job names."""
    return replace(task(_run, name=COMMAND_TASK), kind="command")


def require_command_label(options: Options) -> Options:
    """Return a command job's options with the label that its worker must have."""
    requires = tuple(sorted({*options.requires, COMMANDS}))
    return msgspec.structs.replace(options, requires=requires)


def _run() -> dict[str, int]:
    raise UsageError("a command job cannot be called: enqueue it, and a worker runs it")
