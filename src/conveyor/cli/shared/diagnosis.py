"""The checks of `conveyor doctor`: the store, its workers, and the settings in force."""

from __future__ import annotations

import os
import platform
import time
from typing import Any, cast

import apsw
import msgspec

from ... import __version__
from ...core.job import State
from ...core.serving_workers import SILENT, describe_sickness
from ...errors import ConveyorError
from ...settings import POSTGRES, SETTINGS, Settings, StoreChoice, without_password
from ...store.open import check_store_exists, examine_server, open_store
from ...store.protocol import Store
from ...store.protocol_history import LEAST_MINUTES
from ...system.crash_journal import has_died
from ...system.process_identity import boot_id, is_dead
from .exit_codes import FAILED, OK, UNREACHABLE
from .exposure import find_exposures
from .output import format_count, print_json, print_line, print_stderr, print_table
from .store_access import choose_command_store, find_queues, find_workers

# How many problems of a store are listed.
SHOWN = 20
# What the checks of workers judge, who also know which of them have died on this machine.
JUDGED_ABOVE = frozenset({"silent", "sick", "unwatched"})


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. A warning is no problem of the store, and `ok`."""

    name: str
    ok: bool
    text: str
    warning: bool = False


def print_report(settings: Settings, *, quick: bool, as_json: bool) -> int:
    """Print the findings; return the exit code."""
    settings, findings = run_checks(settings, quick=quick)
    well = all(finding.ok for finding in findings)
    values = {name: settings[name] for name in SETTINGS}
    values["url"] = without_password(str(values["url"]))
    sources = {name: {"value": values[name], "from": settings.sources[name]} for name in SETTINGS}
    if as_json:
        print_json({"ok": well, "findings": findings, "settings": {} if quick else sources})
    else:
        print_table(("STATUS", "CHECK", "DETAILS"), [_row(finding) for finding in findings])
    if not quick and not as_json:
        print_line()
        rows = [(name, _text(each["value"]), str(each["from"])) for name, each in sources.items()]
        print_table(("SETTING", "VALUE", "SOURCE"), rows)
    if not well:
        print_stderr("Problems found; see above.")
    if any(finding.name == "store" and not finding.ok for finding in findings):
        return UNREACHABLE
    return OK if well else FAILED


def run_checks(settings: Settings, *, quick: bool) -> tuple[Settings, list[Finding]]:
    """Check the store and, unless `quick`, its file and its workers.

    Returns also the settings with the store that they and the application lead to.
    """
    try:
        chosen = choose_command_store(settings, app_decides=not quick)
        check_store_exists(chosen.url)
    except ConveyorError as error:
        return settings, [_versions(), Finding("store", ok=False, text=str(error))]
    findings = [_versions(), *_check_store(settings, chosen, quick=quick)]
    return settings.with_store(chosen), findings


def _versions() -> Finding:
    return Finding(
        "versions",
        ok=True,
        text=f"conveyor {__version__}, Python {platform.python_version()}, "
        f"SQLite {apsw.sqlite_lib_version()}",
    )


def _check_store(settings: Settings, chosen: StoreChoice, *, quick: bool) -> list[Finding]:
    findings: list[Finding] = []
    try:
        store = open_store(chosen.url, token=chosen.token)
    except ConveyorError as error:
        return [Finding("store", ok=False, text=str(error))]
    try:
        started = time.perf_counter()
        store.stage(limit=1).result()
        answered = (time.perf_counter() - started) * 1000
        findings.append(
            Finding("store", ok=True, text=f"{store.url} responds in {answered:.1f} ms")
        )
        if not quick:
            findings += [*_check_file(store), *_check_workers(store), *_check_problems(store)]
            findings += _check_exposure(settings, store, chosen.url)
    except ConveyorError as error:
        findings.append(Finding("store", ok=False, text=str(error)))
    finally:
        store.close()
    return findings


def _check_file(store: Store) -> list[Finding]:
    if not store.is_durable:
        return []
    wrong = store.check().result()
    shown = wrong[:SHOWN] or ["no corruption found"]
    if len(wrong) > SHOWN:
        shown.append(f"and {len(wrong) - SHOWN} more")
    integrity = [Finding("integrity", ok=not wrong, text=text) for text in shown]
    if store.url.partition(":")[0] in POSTGRES:
        examined = examine_server(store.url, store.secret)
        return [*integrity, *(Finding(name, ok=ok, text=text) for name, ok, text in examined)]
    path = store.url.removeprefix("sqlite:///").partition("?")[0]
    size, wal = (_size(path + suffix) for suffix in ("", "-wal"))
    return [
        *integrity,
        Finding("size", ok=True, text=f"{size:,} bytes, WAL {wal:,} bytes"),
    ]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _check_workers(store: Store) -> list[Finding]:
    here, now = boot_id(), store.now()
    workers = find_workers(store)
    dead = [
        each.id for each in workers if has_died(each, store.folder, here) or is_dead(each, here)
    ]
    silent = [each.id for each in workers if now - each.beat_at > SILENT and each.id not in dead]
    alive = len(workers) - len(dead) - len(silent)
    sick = [each for each in workers if each.sick and each.id not in (*dead, *silent)]
    queues = find_queues(store)
    waiting = {queue.name: queue.depth for queue in queues if queue.depth}
    stuck = sum(queue.counts.get(State.RUNNING, 0) for queue in queues) if not alive else 0
    depths = ", ".join(f"{name} {depth}" for name, depth in waiting.items()) or "no waiting jobs"
    return [
        Finding(
            "workers",
            ok=not silent,
            text=f"{alive} alive, {len(dead)} dead, {len(silent)} silent",
        ),
        *(
            Finding("machine", ok=False, text=f"{each.id}: {describe_sickness(each.sick)}")
            for each in sick
        ),
        Finding("queues", ok=True, text=depths),
        Finding(
            "running",
            ok=not stuck,
            text=f"{format_count(stuck, 'running job')}, but no live worker; start one"
            if stuck
            else "no running job without a live worker",
        ),
    ]


def _check_problems(store: Store) -> list[Finding]:
    """Return what the dashboard shows as a problem, too, as far as it is not judged above."""
    shown = [
        each
        for each in store.overview(minutes=LEAST_MINUTES, queues=0).result().problems
        if each.key.partition("-")[0] not in JUDGED_ABOVE
    ]
    return [
        Finding(
            each.subject.kind,
            ok=each.level != "bad",
            text=f"{each.subject.name} {each.explanation()}",
            warning=each.level == "warn",
        )
        for each in shown
    ]


def _check_exposure(settings: Settings, store: Store, url: str) -> list[Finding]:
    found = find_exposures(settings, store, url)
    return [Finding(each.name, ok=True, text=each.text, warning=True) for each in found]


def _row(finding: Finding) -> tuple[str, str, str]:
    status = "warning" if finding.warning else "ok"
    return status if finding.ok else "NOT OK", finding.name, finding.text


def _text(value: Any) -> str:
    return ", ".join(map(str, cast("Any", value))) if isinstance(value, tuple) else str(value)
