"""The command line. A command's module is imported only when it runs, to keep `--help` fast."""

from __future__ import annotations

import os
import select
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click

from ..errors import (
    AccessError,
    ConveyorError,
    InvalidTransitionError,
    JobError,
    NotFoundError,
    UnavailableError,
    UsageError,
    WaitTimeoutError,
)
from ..system.standard_streams import open_missing_streams
from .shared.exit_codes import (
    FAILED,
    INTERRUPTED,
    NOT_FOUND,
    OK,
    TIMEOUT,
    UNREACHABLE,
    USAGE,
)
from .shared.pid1 import fork_below_init

# Command name -> help text. The module of a command has its name.
COMMANDS = {
    "run": "Run an application's worker and, with --scale, an autoscaler.",
    "worker": "Run jobs from an application's queues.",
    "server": "Serve the store over HTTP to clients and agents on other machines.",
    "agent": "Run jobs from a server on this machine.",
    "top": "Show the system at a glance, live.",
    "stats": "Show what happened in a queue, or in all queues.",
    "exec": "Run a command as a job, with its output and exit code.",
    "enqueue": "Add a job to a queue.",
    "ps": "List jobs, newest first.",
    "show": "Show all details of a job.",
    "why": "Explain the state of a job in one sentence.",
    "logs": "Print the output of a job, or follow it with -f.",
    "artifacts": "List or download the artifacts of a job.",
    "wait": "Wait for jobs to end.",
    "cancel": "Cancel jobs, waiting or running.",
    "retry": "Run jobs again that have ended, or that wait for a later attempt.",
    "delete": "Delete jobs that have ended, with their output and history.",
    "failures": "List failures that are alike, in groups.",
    "queues": "List, pause or resume queues, or change their capacity.",
    "workers": "List, pause, resume, drain or remove workers.",
    "agents": "Like `workers`, for agents only.",
    "schedules": "List, pause, resume, run or remove schedules.",
    "token": "Create, list or revoke access tokens for a server.",
    "mark": "Note something in the history, such as a deploy; list the notes.",
    "audit": "List manual changes and who made them, newest first.",
    "scale": "Start and stop machines for agents as the load changes.",
    "bench": "Measure throughput and latency on this machine.",
    "drill": "Prove that your application's workers stop and recover as promised.",
    "migrate": "Create or upgrade the tables of a PostgreSQL store.",
    "move": "Move all jobs and settings to another store, such as PostgreSQL.",
    "doctor": "Check the store and its workers; show each setting and its source.",
    "completion": "Print the shell completion script.",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{cmd_name}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        command.help = command.help or COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conveyor")
def cli() -> None:
    """Conveyor: a bounded, durable job queue.

    Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 job failed,
    2 usage error, 3 not found, 4 store unreachable, 5 timeout, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    open_missing_streams()
    _hide_token()
    fork_below_init()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A signal can arrive after an operation of a store was made, and before it has begun.
    warnings.filterwarnings(
        "ignore", "coroutine .* was never awaited", RuntimeWarning, module=r"conveyor\.store\."
    )
    sys.excepthook = _print_crash
    sys.exit(run())


def run(args: list[str] | None = None) -> int:
    """Run one command; return its exit code. Errors of this package print no traceback."""
    try:
        _check_working_directory()
        _check_encoding(sys.argv[1:] if args is None else args)
        code = cli.main(args, prog_name="conveyor", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk or a closed pipe can be reported
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        _print_error(_describe_misuse(error))
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        _print_message("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _end_without_reader()
    except SystemExit as exit_:
        if _has_no_reader():  # click has turned the BrokenPipeError into an exit
            return _end_without_reader()
        _print_error(f"the application exited: {exit_.code}")
        return FAILED
    except ConveyorError as error:
        _print_error(f"{error}")
        return exit_code(error)
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename!r}"
        _print_error(f"{error.strerror or type(error).__name__}{where}")
        try:
            sys.stdout.flush()
        except OSError:
            _discard_stdout()
        return FAILED
    return code if isinstance(code, int) else OK


def _hide_token() -> None:
    """Hide a token from other processes of this user, before any is started."""
    if "CONVEYOR_TOKEN" in os.environ:
        from ..system.hidden_variable import hide_variable  # noqa: PLC0415 - it takes time

        hide_variable("CONVEYOR_TOKEN")


def _has_no_reader() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _end_without_reader() -> int:
    """End well although the reader of our stdout closed it."""
    _discard_stdout()
    return OK


def _discard_stdout() -> None:
    # Python flushes at exit what could not be written, fails again, and changes the exit code.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            f"the current directory was deleted, or cannot be read ({error.strerror}); "
            "change to another one"
        ) from error


def _check_encoding(args: Sequence[str]) -> None:
    """Refuse arguments that are not UTF-8: JSON and the store could not hold them."""
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(arg).decode(errors="backslashreplace")
            raise UsageError(f"the argument '{shown}' is not valid UTF-8") from None


def _describe_misuse(error: click.ClickException) -> str:
    """Return what click has found wrong, in the words of the other errors."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "conveyor"
    return f"{message[:1].lower()}{message[1:]}; see `{command} --help`"


def _print_crash(_kind: object, error: BaseException, _frames: object) -> None:
    # A bug, but its traceback may quote what others wrote.
    from .shared.output import print_traceback  # noqa: PLC0415 - see `_print_message`

    print_traceback(error)


def _print_error(text: str) -> None:
    _print_message(f"conveyor: {text}")


def _print_message(text: str) -> None:
    # Imported here because it is slow to import, and most commands have no error.
    from .shared.output import print_stderr  # noqa: PLC0415

    print_stderr(text)


def exit_code(error: ConveyorError) -> int:
    """Return the exit code for an error."""
    match error:
        case UsageError() | InvalidTransitionError() | AccessError():
            return USAGE
        case NotFoundError():
            return NOT_FOUND
        case UnavailableError():
            return UNREACHABLE
        case WaitTimeoutError():
            return TIMEOUT
        case JobError():
            return FAILED
        case _:
            return FAILED
