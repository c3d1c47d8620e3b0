"""Finds what others on this machine or on the network can reach, for `conveyor doctor`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from urllib.parse import urlsplit

import msgspec

from ...core.access import Token, token_status
from ...core.labels import PUBLIC_WITHOUT_TLS
from ...errors import AccessError
from ...settings import Settings, has_password_in
from ...store.protocol import Store
from .output import format_count
from .store_access import find_workers

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PAGE = 1000
# How many files and tokens are named.
MOST_NAMED = 5


class Exposure(msgspec.Struct, frozen=True):
    """What others can reach, and what to do about it."""

    name: str
    text: str


def find_exposures(settings: Settings, store: Store, url: str) -> list[Exposure]:
    """Return the files, servers and tokens that the user of this machine should know of."""
    found = [*_exposed_files(settings, url), *_exposed_servers(store, url)]
    lasting = _name_some([each.name for each in _tokens(store) if _never_ends(each, store.now())])
    if lasting:
        found.append(
            Exposure(
                "tokens",
                f"without an end: {lasting}; replace them with `conveyor token create --expires`",
            )
        )
    return found


def is_open_to_others(path: str, stat_of: Callable[[str], os.stat_result] = os.stat) -> bool:
    """Whether any user of the machine can read or change a file, through all its directories."""
    path = os.path.abspath(path)
    try:
        mode = stat_of(path).st_mode
        while (parent := os.path.dirname(path)) != path:
            path = parent
            if not stat_of(path).st_mode & stat.S_IXOTH:
                return False
    except OSError:  # it does not exist, or its directory cannot be entered
        return False
    return bool(mode & (stat.S_IROTH | stat.S_IWOTH))


def _exposed_files(settings: Settings, url: str) -> Iterator[Exposure]:
    files = _name_some([path for path in _database(url) if is_open_to_others(path)])
    if files:
        yield Exposure(
            "files",
            f"any user of this machine can read the jobs in {files}; use chmod o-rwx on it, or on "
            "its directory",
        )
    for lock in [f"{path}.lock" for path in _database(url)[:1]]:
        if is_open_to_others(lock):
            yield Exposure(
                "lock",
                f"any user of this machine can lock {lock}, and so stop every write; as its owner, "
                "use chmod o-rwx on it",
            )
    for path in (str(settings["token_file"]), _file_with_password(settings)):
        if path and is_open_to_others(path):
            yield Exposure(
                "secrets",
                f"any user of this machine can read the secret in {path}; use chmod o-rwx on it",
            )


def _database(url: str) -> list[str]:
    if "://" in url.removeprefix("sqlite:///") or url.startswith("memory:"):
        return []
    path = url.removeprefix("sqlite:///").partition("?")[0]
    return [path, path + "-wal", path + ".files"]


def _file_with_password(settings: Settings) -> str:
    """Return the configuration file if the URL in it has a password, otherwise ""."""
    url = str(settings["url"])
    has_password = "://" in url and has_password_in(url)
    return settings.sources["url"] if has_password and settings.folder_of("url") else ""


def _exposed_servers(store: Store, url: str) -> Iterator[Exposure]:
    for worker in find_workers(store):
        if PUBLIC_WITHOUT_TLS in worker.labels:
            yield Exposure(
                "server",
                f"{worker.id} on {worker.host} listens for other machines without TLS: others can "
                "read tokens and jobs in transit; use --tls-cert and --tls-key, or a proxy",
            )
    address = urlsplit(url) if url.startswith("http://") else None
    if address is not None and address.hostname not in LOOPBACK:
        yield Exposure(
            "server", f"{url} has no TLS: others can read tokens and jobs in transit; use https://"
        )


def _tokens(store: Store) -> Iterator[Token]:
    try:
        page = store.tokens(limit=PAGE).result()
        while page:
            yield from page
            page = store.tokens(after=page[-1].id, limit=PAGE).result()
    except AccessError:  # a server lists them only for an admin
        return


def _never_ends(token: Token, now: float) -> bool:
    return token.expires_at is None and token_status(token, now) == "good"


def _name_some(names: list[str]) -> str:
    shown = ", ".join(islice(names, MOST_NAMED))
    more = len(names) - MOST_NAMED
    return f"{shown} and {format_count(more, 'other')}" if more > 0 else shown
