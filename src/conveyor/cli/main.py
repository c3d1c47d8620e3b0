"""The command line. A command is imported when it is called: help costs no driver and no loop."""

from __future__ import annotations

import os
import sys
from importlib import import_module
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
from .shared.exit_codes import (
    FAILED,
    INTERRUPTED,
    NOT_FOUND,
    OK,
    TIMEOUT,
    UNREACHABLE,
    USAGE,
)
from .shared.pid1 import stand_below_init

# Each command lies in the module of its name. name -> what it does, in one line
COMMANDS = {
    "run": "Run everything of an application in one process tree.",
    "worker": "Run jobs of an application's queues.",
    "server": "Serve jobs to programs and agents on other machines, over HTTP.",
    "agent": "Run a server's jobs on this machine.",
    "exec": "Run a command as a job, here and now, with its output and exit code.",
    "enqueue": "Put a job on a queue.",
    "ps": "List jobs, newest first.",
    "show": "Show everything that is known of a job.",
    "why": "Say in a sentence what a job waits for.",
    "logs": "Print what a job wrote, and follow it with -f.",
    "artifacts": "List the files that a job has left, and get them.",
    "wait": "Wait until jobs have ended.",
    "cancel": "Cancel jobs; running ones are asked to stop.",
    "retry": "Run ended jobs again.",
    "queues": "List, pause and resume queues.",
    "workers": "List workers; have them claim nothing, claim again, drain or go.",
    "agents": "The same for agents: the workers that reach the store by a server.",
    "schedules": "List, pause and resume schedules.",
    "token": "Make, list and revoke the tokens that a server asks for.",
    "audit": "List what was done by hand and by whom, newest first.",
    "scale": "Machines that come and go with the work.",
    "bench": "Measure how fast jobs go through on this machine.",
    "drill": "Prove on your own program that it stops and recovers as promised.",
    "doctor": "Check the store, and show each setting and where it came from.",
    "completion": "Print the shell code that completes commands.",
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

    Data goes to stdout, all else to stderr. Exit codes: 0 ok, 1 the job failed, 2 wrong use,
    3 not found, 4 the store is out of reach, 5 time ran out, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    stand_below_init()
    sys.exit(run())


def run(args: list[str] | None = None) -> int:
    """Run one command; return its exit code. Never a traceback for an error of ours."""
    try:
        code = cli.main(args, prog_name="conveyor", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except ConveyorError as error:
        click.echo(f"conveyor: {error}", err=True)
        return exit_code(error)
    return code if isinstance(code, int) else OK


def exit_code(error: ConveyorError) -> int:
    """Return the exit code that stands for an error."""
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
