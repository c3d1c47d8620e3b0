"""The settings. No other module reads files or environment variables for them.

A value comes from, in this order: a flag; the variable `CONVEYOR_<NAME>`; `conveyor.toml` or the
table `[tool.conveyor]` of `pyproject.toml`, whichever is nearest from the current directory
upwards; the application; the default. Its source is kept for `conveyor doctor`. Relative paths in a
file are relative to that file.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from .core.address_secrets import without_secrets
from .core.bounds import checked_integer
from .core.dashboard_address import AUTO, DashboardAddress, parse_dashboard
from .core.duration import parse_duration
from .core.marks import checked_mark_text
from .core.secret_mask import MASKED_KEYS
from .errors import UsageError

PREFIX = "CONVEYOR_"
# The variable that holds a token. A worker passes it on to its own processes, but not to jobs.
TOKEN = "CONVEYOR_TOKEN"  # noqa: S105 - only its name
# The sources of a value that is not from a file or from the environment.
FLAG, APPLICATION, DEFAULT = "the command line", "the application", "default"
FILES = ("conveyor.toml", "pyproject.toml")
LEAST_LEASE = 1.0
LOG_FORMATS = ("text", "json")
# Settings that are paths. `url` may be one, too.
PATHS = frozenset({"token_file", "ca_file", "health_file"})
MEMORY = ("memory:", "memory://")
SERVERS = ("http", "https")
POSTGRES = ("postgresql", "postgres")


class Setting(NamedTuple):
    """One setting: its default, how it is parsed, and its help text."""

    default: Any
    read: Callable[[Any], Any]
    help: str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("must be a non-empty string")
    return value


def _whole(value: Any) -> int:
    return _integer(value, least=1)


def _count(value: Any) -> int:
    return _integer(value, least=0)


def _port(value: Any) -> int:
    port = _count(value)
    if port > 65_535:
        raise UsageError(f"must be at most 65535, got {port}")
    return port


def _integer(value: Any, *, least: int) -> int:
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    return checked_integer(number, least=least)


def _list(value: Any) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    items = cast("list[Any]", given) if isinstance(given, list | tuple) else [None]
    if not all(isinstance(item, str) for item in items):
        raise UsageError('must be a list of strings, like ["a", "b"] or "a,b"')
    return tuple(str(item).strip() for item in items if str(item).strip())


def _log_format(value: Any) -> str:
    if value not in LOG_FORMATS:
        raise UsageError(f"must be {' or '.join(LOG_FORMATS)}")
    return str(value)


def _release(value: Any) -> str:
    return checked_mark_text(_text(value), "a release") if value != "" else ""


def _seconds(value: Any) -> float:
    return parse_duration(value, positive=True)


def _dashboard(value: Any) -> DashboardAddress:
    return parse_dashboard(_text(str(value) if isinstance(value, int) else value))


def _lease(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds < LEAST_LEASE:
        raise UsageError(
            f"must be at least {LEAST_LEASE:g} s, so that a worker can renew it, got {value!r:.40}"
        )
    return seconds


SETTINGS: dict[str, Setting] = {
    "url": Setting(
        "jobs.db",
        _text,
        "store: memory:, a path, sqlite:///path, postgresql://…, or https://… for a server",
    ),
    "token_file": Setting("", str, "file with the token for the server"),
    "ca_file": Setting(
        "", str, "PEM file of CA certificates to trust a server by; default: the system's"
    ),
    "app": Setting("", str, "application, as module:attribute"),
    "queues": Setting((), _list, "queues of a worker: names, or name:weight"),
    "release": Setting(
        "", _release, "release of the application; the first worker of a new one makes a mark"
    ),
    "concurrency": Setting(
        max(4, os.cpu_count() or 1), _whole, "slots of a worker: how many jobs it runs at once"
    ),
    "labels": Setting((), _list, "labels of a worker"),
    "lease": Setting(60.0, _lease, "how long a worker's claim on a job lasts without renewal"),
    "drain": Setting(25.0, _seconds, "how long running jobs may go on at shutdown"),
    "poll": Setting(
        5.0, _seconds, "how often an idle worker polls for jobs; hints wake it earlier"
    ),
    "args_limit": Setting(1 << 20, _whole, "maximum size of a job's arguments, in bytes of JSON"),
    "masked_keys": Setting(
        MASKED_KEYS, _list, "words in the names of arguments whose values the server hides"
    ),
    "keep_completed": Setting(86400.0, _seconds, "how long completed jobs are kept"),
    "keep_cancelled": Setting(7 * 86400.0, _seconds, "how long cancelled jobs are kept"),
    "keep_discarded": Setting(30 * 86400.0, _seconds, "how long discarded jobs are kept"),
    "max_jobs_per_process": Setting(
        0, _count, "number of jobs after which a child process is replaced; 0 for any number"
    ),
    "max_rss_mb": Setting(
        512, _whole, "memory, in MiB, to which a child process may grow before it is replaced"
    ),
    "health_file": Setting("", str, "health file for probes, updated every second"),
    "metrics_port": Setting(
        0, _port, "port at which a worker serves its metrics to Prometheus; 0 for none"
    ),
    "metrics_host": Setting("127.0.0.1", _text, "address at which a worker serves its metrics"),
    "dashboard": Setting(
        AUTO,
        _dashboard,
        "where `conveyor run` serves the dashboard: auto, off, PORT or HOST:PORT",
    ),
    "log_level": Setting("INFO", _text, "log level: DEBUG, INFO, WARNING or ERROR"),
    "log_format": Setting("text", _log_format, "format of log lines: text or json"),
}


class Settings:
    """The effective values: `settings["url"]` is a value, `settings.sources["url"]` its source."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.sources = dict(sources)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def folder_of(self, name: str) -> str:
        """Return the folder of the file that has this value; "" if it is from another source."""
        source = self.sources[name]
        return os.path.dirname(source) if source.endswith(FILES) else ""

    def with_store(self, store: StoreChoice) -> Settings:
        """Return these settings with the chosen store, as `conveyor doctor` shows them."""
        own = without_password(store.own)
        overrides = f"{store.source}; it overrides the application's {own}"
        source = overrides if store.own else store.source
        return Settings({**self._values, "url": store.url}, {**self.sources, "url": source})


class StoreChoice(NamedTuple):
    """The store to use, and where it is named.

    `own` is the application's store if that is overridden. `token` is the application's; None takes
    the configured one.
    """

    url: str
    source: str
    own: str = ""
    token: str | None = None


def choose_store(settings: Settings, own: str | None) -> StoreChoice:
    """Choose between the configured store and the application's `own`.

    A flag or a variable is meant for this run, so it wins. A file and the application both belong
    to the project: UsageError if they name different stores. A store in memory stays: it belongs to
    this process, and no other store has its jobs.
    """
    url, source = str(settings["url"]), settings.sources["url"]
    if own is None:
        return StoreChoice(url, source)
    if source == DEFAULT or own in MEMORY:
        return StoreChoice(own, APPLICATION)
    if _place(own) == _place(url):
        return StoreChoice(url, source)
    if settings.folder_of("url"):
        raise UsageError(
            f"the application names the store {without_password(own)!r}, and {source} names "
            f"{without_password(url)!r}; remove one of them, or choose for this run with --url or "
            f"{PREFIX}URL"
        )
    return StoreChoice(url, source, own)


def absolute_url(url: str, folder: str | Path) -> str:
    """Return the URL of a store, with a relative path taken from `folder`."""
    scheme, colon, _ = url.partition(":")
    prefix = "sqlite:///" if url.startswith("sqlite:///") else ""
    path = url.removeprefix(prefix)
    if not path or (not prefix and colon and "/" not in scheme):
        return url
    return prefix + os.path.join(folder, path)


def has_password_in(url: str) -> bool:
    """Whether an address has a password, or another secret."""
    return without_password(url) != url


def without_password(url: str) -> str:
    """Return an address as it may be shown, also one that cannot be read."""
    return without_secrets(url)


def _place(url: str) -> str:
    """Return what all URLs of one store have in common."""
    if url.partition(":")[0] in POSTGRES:  # which schema it is stands in the query
        return url
    path = absolute_url(url, current_folder()).removeprefix("sqlite:///").partition("?")[0]
    return path.rstrip("/") if "://" in path else os.path.normpath(path)


def take_token() -> str:
    """Return `CONVEYOR_TOKEN`, and remove it from the environment; "" if it is not set."""
    return os.environ.pop(TOKEN, "")


def token_from(settings: Settings, given: str | None = None) -> str:
    """Return the token for a server, from `CONVEYOR_TOKEN` or the token file; "" if there is none.

    `given` is the value of `CONVEYOR_TOKEN` if it was taken from the environment. The token is not
    a setting, so that it is never shown. UsageError if the file cannot be read.
    """
    given = os.environ.get(TOKEN, "") if given is None else given
    path = str(settings["token_file"])
    if not path or (given and settings.sources["token_file"] != FLAG):
        return given
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the token file {path!r}: {error}") from error


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Return the effective settings; UsageError names the file or variable of a wrong value.

    Flags that are None or () count as not given.
    """
    env = os.environ if environment is None else environment
    values: dict[str, Any] = {name: setting.default for name, setting in SETTINGS.items()}
    sources = dict.fromkeys(SETTINGS, DEFAULT)
    file, table = _from_file(folder or current_folder())
    for name, value in table.items():
        values[name] = _taken_from(file.parent, name, _read(name, value, str(file)))
        sources[name] = str(file)
    for name, value in _from_environment(env).items():
        place = f"the environment ({PREFIX}{name.upper()})"
        values[name] = _read(name, value, place)
        sources[name] = place
    for name, value in (flags or {}).items():
        if value is not None and value != () and name in SETTINGS:
            values[name] = _read(name, value, FLAG)
            sources[name] = FLAG
    return Settings(values, sources)


def current_folder() -> Path:
    """Return the current directory, or a relative path where that was deleted."""
    try:
        return Path.cwd()
    except OSError:  # it was deleted, so it has no file either
        return Path()


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    return {name: env[PREFIX + name.upper()] for name in SETTINGS if env.get(PREFIX + name.upper())}


def _from_file(folder: Path) -> tuple[Path, dict[str, Any]]:
    for place in (folder, *folder.parents):
        tables: dict[Path, dict[str, Any]] = {}
        for name in FILES:
            path = place / name
            # Not ignored where it is no file, or a link to none: another store would be used.
            is_named = name == "conveyor.toml" and os.path.lexists(path)
            if (path.is_file() or is_named) and not _may_be_planted(path):
                table = _parse(path)
                if name == "pyproject.toml":
                    table = table.get("tool", {}).get("conveyor")
                if table is not None:
                    tables[path] = _check_names(table, path)
        if len(tables) > 1:
            raise UsageError(
                f"{' and '.join(map(str, tables))} both configure Conveyor; keep one of them"
            )
        for path, table in tables.items():
            return path, table
    return folder, {}


def _may_be_planted(path: Path) -> bool:
    """Whether another user may have put a file into a directory like /tmp, above ours perhaps.

    It could name an application, which is code that this process would run.
    """
    shared = stat.S_ISVTX | stat.S_IWOTH
    is_shared = path.parent.stat().st_mode & shared == shared
    return is_shared and path.lstat().st_uid not in (0, os.geteuid())


def _taken_from(folder: Path, name: str, value: Any) -> Any:
    if name == "url":
        return absolute_url(value, folder)
    return os.path.join(folder, value) if name in PATHS and value else value


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"{path} is no file, or a link that leads to none; remove or mend it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise UsageError(f"cannot read {path} as TOML: {error}") from error


def _check_names(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    for name in table:
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(SETTINGS)}"
            raise UsageError(f"{path}: unknown setting {name!r}; {hint}")
    return dict(table)


def _read(name: str, value: Any, place: str) -> Any:
    try:
        if isinstance(value, str) and "\udc80" <= max(value, default="") <= "\udcff":
            raise UsageError("is not valid UTF-8")
        return SETTINGS[name].read(value)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{name} = {value!r} from {place}: {error}") from error
