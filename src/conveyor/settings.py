"""The configuration: the only place that reads files or the environment for it.

A value comes from a flag, else from `CONVEYOR_<NAME>`, else from `conveyor.toml` or the table
`[tool.conveyor]` of `pyproject.toml` (the nearest, from the current directory upwards), else it is
the default. Each remembers where it came from, so that `conveyor doctor` can say so.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from .core.duration import parse_duration
from .errors import UsageError

PREFIX = "CONVEYOR_"
# The variable that holds a token; it reaches the processes that a worker starts, and no jobs.
TOKEN = "CONVEYOR_TOKEN"  # noqa: S105 - its name
FLAG = "the command line"
FILES = ("conveyor.toml", "pyproject.toml")


class Setting(NamedTuple):
    """One setting: its default, how it is read, and what it means."""

    default: Any
    read: Callable[[Any], Any]
    help: str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("a text is wanted")
    return value


def _whole(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UsageError("a whole number of 1 or more is wanted")
    return number


def _list(value: Any) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    items = cast("list[Any]", given) if isinstance(given, list | tuple) else [None]
    if not all(isinstance(item, str) for item in items):
        raise UsageError('a list of texts is wanted, like ["a", "b"], or "a,b"')
    return tuple(str(item).strip() for item in items if str(item).strip())


def _seconds(value: Any) -> float:
    return parse_duration(value, positive=True)


SETTINGS: dict[str, Setting] = {
    "url": Setting("jobs.db", _text, "the store: memory:, a path, sqlite:///path, or https://…"),
    "token_file": Setting("", str, "the file that holds the token for a server"),
    "ca_file": Setting("", str, "certificates, in PEM, to trust a server by; none: the system's"),
    "app": Setting("", str, "the application, as module:attribute"),
    "queues": Setting((), _list, "what a worker serves: names, or name:weight"),
    "concurrency": Setting(max(4, os.cpu_count() or 1), _whole, "slots of a worker"),
    "labels": Setting((), _list, "labels of a worker"),
    "lease": Setting(60.0, _seconds, "how long a claim lasts unless it is renewed"),
    "drain": Setting(25.0, _seconds, "how long running jobs may finish at shutdown"),
    "poll": Setting(5.0, _seconds, "how often a worker looks without being woken"),
    "args_limit": Setting(1 << 20, _whole, "most bytes of JSON in a job's arguments"),
    "keep_completed": Setting(86400.0, _seconds, "how long completed jobs are kept"),
    "keep_cancelled": Setting(7 * 86400.0, _seconds, "how long cancelled jobs are kept"),
    "keep_discarded": Setting(30 * 86400.0, _seconds, "how long discarded jobs are kept"),
    "max_jobs_per_process": Setting(1000, _whole, "jobs after which a child process is replaced"),
    "max_rss_mb": Setting(512, _whole, "MiB of memory above which a child process is replaced"),
    "health_file": Setting("", str, "where a worker says every second how it is, for probes"),
    "log_level": Setting("INFO", _text, "how much a worker logs: DEBUG, INFO, WARNING or ERROR"),
}


class Settings:
    """The values in force. `settings["url"]` is a value, `sources["url"]` where it came from."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.sources = dict(sources)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]


def token_from(settings: Settings) -> str:
    """Return the token for a server: `CONVEYOR_TOKEN`, or what stands in the token file; or "".

    It is no setting of its own, so that it is never shown.
    """
    given = os.environ.get(TOKEN, "")
    path = str(settings["token_file"])
    if not path or (given and settings.sources["token_file"] != FLAG):
        return given
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path!r} cannot be read: {error}") from error


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Return the settings in force; UsageError names the file or variable with a bad value.

    Flags that are None or empty were not given.
    """
    env = os.environ if environment is None else environment
    values: dict[str, Any] = {name: setting.default for name, setting in SETTINGS.items()}
    sources = dict.fromkeys(SETTINGS, "default")
    for where, given in (_from_file(folder or Path.cwd()), ("", _from_environment(env))):
        for name, value in given.items():
            place = where or f"the environment ({PREFIX}{name.upper()})"
            values[name] = _read(name, value, place)
            sources[name] = place
    for name, value in (flags or {}).items():
        if value is not None and value != () and name in SETTINGS:
            values[name] = _read(name, value, "the command line")
            sources[name] = "the command line"
    return Settings(values, sources)


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    return {name: env[PREFIX + name.upper()] for name in SETTINGS if env.get(PREFIX + name.upper())}


def _from_file(folder: Path) -> tuple[str, dict[str, Any]]:
    for place in (folder, *folder.parents):
        for name in FILES:
            path = place / name
            if path.is_file():
                table = _parse(path)
                if name == "pyproject.toml":
                    table = table.get("tool", {}).get("conveyor")
                if table is not None:
                    return str(path), _known(table, path)
    return "", {}


def _parse(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def _known(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    for name in table:
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SETTINGS)}"
            raise UsageError(f"{path}: there is no setting {name!r}; {hint}")
    return dict(table)


def _read(name: str, value: Any, place: str) -> Any:
    try:
        return SETTINGS[name].read(value)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{name} = {value!r} from {place}: {error}") from error
