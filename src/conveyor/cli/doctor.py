"""`conveyor doctor`: checks the health file for probes, or the store and everything in it.

Probes run every few seconds, so this module imports neither the store nor the application.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import click

from ..errors import UsageError
from ..settings import Settings, load_settings
from ..worker import health
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option, url_option
from .shared.output import print_json, print_line, print_stderr


@click.command("doctor")
@click.option(
    "--quick",
    is_flag=True,
    help="For probes: only check that the worker is alive or the store responds.",
)
@click.option(
    "--ready", is_flag=True, help="With --quick: also check that the worker accepts jobs."
)
@click.option("--health-file", metavar="PATH", help="Health file of the worker.")
@json_option
@url_option
def doctor_command(
    quick: bool, ready: bool, health_file: str | None, as_json: bool, url: str | None
) -> int:
    settings = load_settings({"url": url, "health_file": health_file})
    path = str(settings["health_file"])
    if ready and not (quick and path):
        raise UsageError("--ready requires --quick and a health file: --health-file PATH")
    if not quick or not path:
        code: int = _load_diagnosis().print_report(settings, quick=quick, as_json=as_json)
        return code
    verdict = _judge(path, ready=ready)
    if ready and verdict.ok:
        verdict = _with_store(verdict, settings)
    if as_json:
        print_json(verdict)
    else:
        (print_line if verdict.ok else print_stderr)(f"{path}: {verdict.text}")
    return OK if verdict.ok else FAILED


def _judge(path: str, *, ready: bool) -> health.HealthVerdict:
    found = health.read(path)
    gone = found is not None and health.is_gone(found)
    return health.judge(found, now=time.time(), gone=gone, ready=ready)


def _with_store(verdict: health.HealthVerdict, settings: Settings) -> health.HealthVerdict:
    _, findings = _load_diagnosis().run_checks(settings, quick=True)
    wrong = [finding.text for finding in findings if not finding.ok]
    return health.HealthVerdict(ok=False, text="; ".join(wrong)) if wrong else verdict


def _load_diagnosis() -> Any:
    return import_module(".shared.diagnosis", __package__)
