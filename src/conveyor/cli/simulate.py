"""`conveyor scale simulate`: replay past jobs against a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
import msgspec

from ..autoscaler.simulate import SimulationReport, simulate
from ..autoscaler.text_chart import draw_text_chart
from ..autoscaler.workload import Trace, read_trace
from ..core.duration import parse_duration
from ..errors import UsageError
from .shared.options import json_option
from .shared.output import print_json, print_line, print_stderr, print_table
from .shared.scaler_runner import load_config

PngDrawer = Callable[[str, Sequence[float], Sequence[tuple[str, Sequence[float]]]], None]


@click.command("simulate", help="Replay past jobs against a policy: costs and waiting times.")
@click.option(
    "--trace",
    "trace_path",
    metavar="CSV",
    required=True,
    help="Jobs: columns at, duration and, optionally, labels.",
)
@click.option(
    "--policy", "policy_path", metavar="TOML", required=True, help="Configuration with the policy."
)
@click.option("--boot", default="60s", show_default=True, help="Boot time of a machine.")
@click.option("--every", default="10s", show_default=True, help="Interval of the scaler.")
@click.option("--png", "png_path", metavar="FILE", help="Also draw the charts into a PNG file.")
@json_option
def simulate_command(
    trace_path: str, policy_path: str, boot: str, every: str, png_path: str | None, as_json: bool
) -> None:
    interval = parse_duration(every, positive=True, name="--every")
    boot_time = parse_duration(boot, name="--boot")
    draw_png = _load_png_drawer() if png_path else None
    report = simulate(
        _load_trace(trace_path), load_config(policy_path).policy, every=interval, boot=boot_time
    )
    series = report.series
    lines = (("machines", series.machines), ("waiting jobs", series.waiting))
    if png_path and draw_png:
        try:
            draw_png(png_path, series.at, lines)
        except OSError as error:
            raise UsageError(f"cannot write the chart {png_path!r}: {error}") from error
        print_stderr(f"chart: {png_path}")
    if as_json:
        figures = msgspec.structs.asdict(report)
        del figures["series"]
        print_json(figures)
        return
    print_table(("FIGURE", "VALUE"), _figures(report))
    for title, values in lines:
        for line in ("", *draw_text_chart(title, series.at, values)):
            print_line(line)


def _figures(report: SimulationReport) -> list[tuple[str, str]]:
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


def _load_trace(path: str) -> Trace:
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            return read_trace(lines, where=path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the trace {path!r}: {error}") from error


def _load_png_drawer() -> PngDrawer:
    """Import matplotlib now, so that a missing one is an error before a long simulation."""
    try:
        from ..autoscaler.png_chart import draw_png  # noqa: PLC0415 - matplotlib is optional
    except ModuleNotFoundError as error:
        raise UsageError(
            "--png needs matplotlib: install it with `pip install conveyor[charts]`"
        ) from error
    return draw_png
