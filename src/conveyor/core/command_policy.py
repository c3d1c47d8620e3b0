"""What command jobs may do on a worker: limits, user and environment."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ..errors import UsageError
from .duration import parse_duration
from .job import COMMANDS
from .size import parse_size

# The worker's variables that a clean environment keeps, besides LC_*.
CLEAN_ENV = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
# The label of workers that run command jobs only.
COMMANDS_ONLY = f"{COMMANDS}!only"
SECRET = re.compile(r"CONVEYOR_.*(TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
# Above what any system can set.
MAX_LIMIT = 1 << 62
# In digits.
LONGEST_COUNT = 20


class CommandRules(msgspec.Struct, frozen=True, kw_only=True):
    """What command jobs may do on a worker; by default whatever the worker itself may do.

    `allowed=False` refuses them; with `only` the worker runs nothing else. `user` is a name or uid
    to run as; the worker must be root. With `clean_env` they get, of the worker's environment,
    only PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER, LOGNAME and SHELL, and the variables in
    `keep_env`. Limits apply to each process, not to all together: `memory` (bytes of address
    space), `cpu` (seconds of CPU time), `file_size` (bytes) and `open_files`. `processes` counts
    all processes of that user, and does not apply to root. UsageError for a wrong value.
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
            if value is not None and not 1 <= value < MAX_LIMIT:
                raise UsageError(f"the limit {name} of commands must be 1 or more, got {value}")
        if self.user == "":
            raise UsageError("the user that commands run as must be a name or a uid, got ''")
        for name in self.keep_env:
            if not name or "=" in name or "\0" in name:
                raise UsageError(f"keep_env: {name!r} is not the name of an environment variable")
            if is_secret(name):
                raise UsageError(f"keep_env: {name} is a secret of Conveyor, which jobs never get")

    def label(self, labels: frozenset[str]) -> frozenset[str]:
        """Return a worker's labels plus, if it runs commands, the one that command jobs require."""
        if self.allowed:
            return labels | {COMMANDS_ONLY if self.only else COMMANDS}
        for label in labels:
            if label.partition("!")[0] == COMMANDS:
                raise UsageError(
                    f"label {label!r} is for command jobs, which this worker does not allow: "
                    "leave the label out, or allow commands"
                )
        return labels

    def passed_on(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the part of the worker's environment that commands get."""
        passed = without_secrets(environment)
        if not self.clean_env:
            return passed
        kept = CLEAN_ENV.union(self.keep_env)
        return {
            name: value for name, value in passed.items() if name in kept or name.startswith("LC_")
        }


def is_secret(name: str) -> bool:
    """Whether an environment variable is a secret of Conveyor itself, like CONVEYOR_TOKEN."""
    return SECRET.match(name) is not None


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the secrets of Conveyor itself."""
    return {name: value for name, value in environment.items() if not is_secret(name)}


def read_limits(texts: Iterable[str]) -> dict[str, int]:
    """Parse "memory=2G", "cpu=10m", "files=256M", "processes=200", "open=1024" to rules' fields."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in LIMITS:
            raise UsageError(
                f"unknown limit {text!r}: choose from memory=2G, cpu=10m, files=256M, "
                "processes=200 and open=1024"
            )
        field, read = LIMITS[name]
        if field in found:
            raise UsageError(f"the limit {text!r}: {name} is given twice")
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
    if not text.isdecimal() or len(text) > LONGEST_COUNT:
        raise UsageError(f"it must be a whole number, got {text!r:.100}")
    return _checked_limit(int(text))


def _checked_limit(number: int) -> int:
    if not 1 <= number < MAX_LIMIT:
        raise UsageError("it must be from 1 to 2**62")
    return number


# name -> the field of the rules, and how it is parsed
LIMITS: dict[str, tuple[str, Callable[[str], int]]] = {
    "memory": ("memory", _size),
    "cpu": ("cpu", _seconds),
    "files": ("file_size", _size),
    "processes": ("processes", _count),
    "open": ("open_files", _count),
}
# The rules of a worker without options for commands.
UNRESTRICTED = CommandRules()
