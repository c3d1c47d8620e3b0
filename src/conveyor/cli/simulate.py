"""`conveyor scale simulate`: jobs of the past against a policy."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..autoscaler.picture import picture
from ..autoscaler.simulate import Report, simulate
from ..autoscaler.text_chart import chart
from ..autoscaler.workload import Trace, read_trace
from ..core.duration import parse_duration
from ..errors import UsageError
from .shared.options import json_option
from .shared.output import print_json, print_stderr, print_table
from .shared.scaler_thread import configuration


@click.command("simulate", help="Replay jobs of the past: what a policy would have cost.")
@click.option(
    "--trace",
    "trace_path",
    metavar="CSV",
    required=True,
    help="The jobs: columns at, duration, and labels if any.",
)
@click.option("--policy", "policy_path", metavar="TOML", required=True, help="The policy.")
@click.option("--boot", default="60s", show_default=True, help="How long a machine takes to come.")
@click.option("--every", default="10s", show_default=True, help="How often the scaler looks.")
@click.option("--png", "png_path", metavar="FILE", help="Draw the charts into a PNG as well.")
@json_option
def simulate_command(
    trace_path: str, policy_path: str, boot: str, every: str, png_path: str | None, as_json: bool
) -> None:
    looks = parse_duration(every, positive=True, name="--every")
    boots = parse_duration(boot, name="--boot")
    report = simulate(
        _trace(trace_path), configuration(policy_path).policy, every=looks, boot=boots
    )
    series = report.series
    if png_path:
        lines = [("machines", series.machines), ("jobs that wait", series.waiting)]
        _write(png_path, picture(series.at, lines))
        print_stderr(f"drawn: {png_path}")
    if as_json:
        figures = msgspec.structs.asdict(report)
        del figures["series"]
        print_json(figures)
        return
    print_table(("FIGURE", "VALUE"), figures_of(report))
    for title, values in (("machines", series.machines), ("jobs that wait", series.waiting)):
        for line in ("", *chart(title, series.at, values)):
            click.echo(line)


def figures_of(report: Report) -> list[tuple[str, str]]:
    """Return what a simulation found as people read it."""
    return [
        ("jobs", f"{report.jobs:,}"),
        ("jobs that no machine may run", f"{report.unserved:,}"),
        ("machine hours", f"{report.machine_hours:,.1f}"),
        ("machine hours paid", f"{report.paid_hours:,.1f}"),
        ("cost", f"{report.cost:,.2f}"),
        ("slot hours busy", f"{report.busy_hours:,.1f}"),
        ("machines started", f"{report.started:,}"),
        ("machines at most", f"{report.most:,}"),
        ("waiting, p50", f"{report.p50:,.1f} s"),
        ("waiting, p95", f"{report.p95:,.1f} s"),
        ("waiting, p99", f"{report.p99:,.1f} s"),
        ("waiting, longest", f"{report.longest:,.1f} s"),
        ("jobs killed on busy agents", f"{report.kills:,}"),
    ]


def _trace(path: str) -> Trace:
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            return read_trace(lines, where=path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the trace {path!r} cannot be read: {error}") from error


def _write(path: str, data: bytes) -> None:
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"the picture {path!r} cannot be written: {error}") from error
