"""`conveyor doctor`: a probe by the health file, which is quick, or a look at everything.

A probe is run every few seconds, so this file imports neither the store nor the application.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import click
import msgspec

from ..errors import UsageError
from ..settings import load_settings
from ..worker import health
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option, url_option


@click.command("doctor")
@click.option(
    "--quick", is_flag=True, help="For probes: whether the worker lives, or the store answers."
)
@click.option("--ready", is_flag=True, help="With --quick: also whether the worker takes jobs.")
@click.option("--health-file", metavar="PATH", help="Where the worker says how it is.")
@json_option
@url_option
def doctor_command(
    quick: bool, ready: bool, health_file: str | None, as_json: bool, url: str | None
) -> int:
    settings = load_settings({"url": url, "health_file": health_file})
    path = str(settings["health_file"])
    if ready and not (quick and path):
        raise UsageError("--ready goes with --quick and a health file: --health-file PATH")
    if not quick or not path:
        code: int = _load_diagnosis().report(settings, quick=quick, as_json=as_json)
        return code
    verdict = _judge(path, ready=ready)
    if ready and verdict.ok:
        verdict = _with_store(verdict, str(settings["url"]))
    text = msgspec.json.encode(verdict).decode() if as_json else f"{path}: {verdict.text}"
    click.echo(text, err=not verdict.ok and not as_json)
    return OK if verdict.ok else FAILED


def _judge(path: str, *, ready: bool) -> health.Verdict:
    found = health.read(path)
    gone = found is not None and health.is_gone(found)
    return health.judge(found, now=time.time(), gone=gone, ready=ready)


def _with_store(verdict: health.Verdict, url: str) -> health.Verdict:
    wrong = [
        finding.text for finding in _load_diagnosis().examine(url, quick=True) if not finding.ok
    ]
    return health.Verdict(ok=False, text="; ".join(wrong)) if wrong else verdict


def _load_diagnosis() -> Any:
    return import_module(".shared.diagnosis", __package__)
