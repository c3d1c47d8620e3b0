"""What commands may do on a worker: the rules, how they are read, and what they let through."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ..errors import UsageError
from .duration import parse_duration
from .job import COMMANDS
from .size import parse_size

# What a clean environment holds of the worker's own, and everything that begins with LC_.
PLAIN = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
# The label of those who take command jobs, and no others.
NOTHING_ELSE = f"{COMMANDS}!only"
SECRET = re.compile(r"CONVEYOR_.*(TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
# No system counts further.
MOST = 1 << 62


class CommandRules(msgspec.Struct, frozen=True, kw_only=True):
    """What command jobs may do on a worker. The default is what the worker itself may do.

    `only`: there are no jobs but commands here, as nothing else is known.
    `user` is who they run as: a name or a uid, for which the worker must be root. With
    `clean_env` they get of the worker's environment only PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER,
    LOGNAME and SHELL, and what `keep_env` names. The limits hold for each of their processes, not
    for all together: `memory` (bytes of address space), `cpu` (seconds of computing), `file_size`
    (bytes) and `open_files`. `processes` counts all of that user's, and does not hold for root.
    """

    allowed: bool = True
    only: bool = False
    user: str | None = None
    clean_env: bool = False
    keep_env: tuple[str, ...] = ()
    memory: int | None = None
    cpu: int | None = None
    file_size: int | None = None
    processes: int | None = None
    open_files: int | None = None

    def __post_init__(self) -> None:
        for name, (field, _) in LIMITS.items():
            value = getattr(self, field)
            if value is not None and not 1 <= value < MOST:
                raise UsageError(f"the limit {name}={value} of commands: 1 or more is wanted")
        if self.user == "":
            raise UsageError("the user that commands run as has no name: give one, or a uid")
        for name in self.keep_env:
            if not name or "=" in name or "\0" in name:
                raise UsageError(f"keep_env: {name!r} is no name of an environment variable")
            if is_secret(name):
                raise UsageError(f"keep_env: {name} is a secret of Conveyor, kept from all jobs")

    def label(self, labels: frozenset[str]) -> frozenset[str]:
        """Return a worker's labels, and with them the one that command jobs require."""
        if self.allowed:
            return labels | {NOTHING_ELSE if self.only else COMMANDS}
        for label in labels:
            if label.partition("!")[0] == COMMANDS:
                raise UsageError(
                    f"the label {label!r} asks for command jobs, which this worker is not allowed "
                    "to run: leave the label out, or allow commands"
                )
        return labels

    def passed_on(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return what commands find of the worker's environment."""
        passed = without_secrets(environment)
        if not self.clean_env:
            return passed
        kept = PLAIN.union(self.keep_env)
        return {
            name: value for name, value in passed.items() if name in kept or name.startswith("LC_")
        }


def is_secret(name: str) -> bool:
    """Whether an environment variable holds a secret of Conveyor's own, like CONVEYOR_TOKEN."""
    return SECRET.match(name) is not None


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment as programs of jobs may see it."""
    return {name: value for name, value in environment.items() if not is_secret(name)}


def read_limits(texts: Iterable[str]) -> dict[str, int]:
    """Read "memory=2G", "cpu=10m", "files=256M", "processes=200", "open=1024" as rules' fields."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in LIMITS:
            raise UsageError(
                f"the limit {text!r}: there is none of that name. There are memory=2G, cpu=10m, "
                "files=256M, processes=200 and open=1024."
            )
        field, read = LIMITS[name]
        if field in found:
            raise UsageError(f"the limit {text!r}: {name} is limited twice, so say which counts")
        try:
            found[field] = read(value.strip())
        except UsageError as error:
            raise UsageError(f"the limit {text!r}: {error}") from error
    return found


def _size(text: str) -> int:
    return _checked_limit(parse_size(text))


def _seconds(text: str) -> int:
    return _checked_limit(math.ceil(parse_duration(text)))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"it must be a whole number, got {text!r}")
    return _checked_limit(int(text))


def _checked_limit(number: int) -> int:
    if not 1 <= number < MOST:
        raise UsageError("it must be from 1 to 2**62")
    return number


# name -> the field of the rules, and how it is read
LIMITS: dict[str, tuple[str, Callable[[str], int]]] = {
    "memory": ("memory", _size),
    "cpu": ("cpu", _seconds),
    "files": ("file_size", _size),
    "processes": ("processes", _count),
    "open": ("open_files", _count),
}
# What a worker does that nobody has told anything else.
ANYTHING = CommandRules()
