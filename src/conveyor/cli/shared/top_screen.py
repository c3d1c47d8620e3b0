"""The screen of `conveyor top`: from an overview to lines that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.text import Text

from ...core.foreign_text import escape_line
from ...core.job import State
from ...core.overview import Overview, QueueView, RunningJob
from ...core.problem import Level, SystemProblem
from ...core.spans import count, rate, span
from .sparkline import sparkline

STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "bad": "bold red"}
# A level is never shown by its colour alone.
SIGNS: dict[Level, str] = {"ok": "●", "warn": "▲", "bad": "✗"}
HEADINGS = ("WAITING", "OLDEST", "RUN", "IN/s", "OUT/s", "FAIL")
WIDTHS = (9, 12, 7, 7, 7, 6)
# What a screen of few lines keeps: lines for problems, and for jobs.
LEAST_QUEUES, MOST_PROBLEMS, MOST_JOBS, LONGEST_NAME = 3, 8, 5, 30


def draw_screen(overview: Overview, width: int, height: int, *, note: str = "") -> list[Text]:
    """Return the lines of a screen, each at most `width` cells wide; at most `height` of them.

    `note` says what is wrong with the view itself.
    """
    head = [_verdict(overview)]
    if note:
        head.append(Text(escape_line(note), style="reverse"))
    problems = [line for each in overview.problems for line in _problem(each, width)]
    totals = _totals(overview, width)
    jobs = [_job(each, overview.at) for each in overview.longest[:MOST_JOBS]]
    # What is wrong comes first, but some queues are always shown.
    left = height - len(head) - len(totals) - LEAST_QUEUES - 3
    shown = _first(problems, max(1, min(MOST_PROBLEMS, left)), "more lines of problems")
    left = height - len(head) - len(shown) - len(totals) - 3
    jobs = jobs[: max(0, left - LEAST_QUEUES - 2)]
    room = max(1, left - (len(jobs) + 2 if jobs else 0))
    lines = [*head, *shown, Text(), *totals, Text(), *_queues(overview, width, room)]
    if jobs:
        lines += [Text(), Text("RUNNING LONGEST", style="bold"), *jobs]
    return [_fit(line, width) for line in lines[:height]]


def draw_once(overview: Overview, width: int) -> list[Text]:
    """Return all that there is, for a pipe or a page."""
    return draw_screen(overview, width, 10_000)


def _verdict(overview: Overview) -> Text:
    verdict = overview.verdict
    line = Text(f"{SIGNS[verdict.level]} {verdict.claim}", style=STYLES[verdict.level])
    if verdict.note:
        line.append(f"  {verdict.note}", style="not bold dim")
    return line


def _problem(problem: SystemProblem, width: int) -> list[Text]:
    """Return a problem in two lines at most, the second one indented."""
    name = escape_line(problem.subject.name)
    told = f"{name} {escape_line(problem.explanation())}"
    first, *rest = wrap(told, max(20, width - 2), max_lines=2, placeholder=" …") or [name]
    line = Text(f"{SIGNS[problem.level]} ", style=STYLES[problem.level])
    text = Text(first, style="not bold default")
    text.stylize("bold", 0, len(name))
    return [line.append_text(text), *(Text(f"  {each}") for each in rest)]


def _totals(overview: Overview, width: int) -> list[Text]:
    oldest = ""
    if overview.oldest_at is not None:
        oldest = f" (oldest {span(overview.at - overview.oldest_at)})"
    hosts = f"{count(overview.workers, 'worker')} on {count(overview.hosts, 'host')}"
    failing = "-" if overview.failed_share is None else f"{overview.failed_share:.1%}"
    usual = ""
    if overview.failed_usual is not None:
        usual = f" ({overview.failed_usual:.1%} usual)"
    # Not the present minute: it is not over, and would look like a fall.
    points = [point.completed for point in overview.history.points[:-1]]
    rates = (
        f"in {rate(overview.enqueued_rate)}/s   out {rate(overview.completed_rate)}/s   "
        f"failing {failing}{usual}   "
    )
    room = max(10, width - len(rates) - 1)
    return [
        Text(
            f"waiting {overview.waiting:,}{oldest}  later {overview.later:,}  "
            f"running {overview.running:,}/{overview.slots:,}  {hosts}"
        ),
        Text(rates).append(sparkline(points[-room:]), style="cyan"),
    ]


def _queues(overview: Overview, width: int, room: int) -> Iterator[Text]:
    """Yield the table of queues, in at most `room` lines and one for its headings."""
    names = [escape_line(each.name) for each in overview.queues]
    taken = sum(WIDTHS)
    first = max(8, min(LONGEST_NAME, max(map(len, names), default=8) + 2, width - taken))
    heading = f"{'QUEUE':<{first}}" + "".join(
        f"{each:>{size}}" for each, size in zip(HEADINGS, WIDTHS, strict=True)
    )
    spark = width - first - taken - 2
    yield Text(heading + ("  COMPLETED" if spark >= 10 else ""), style="bold")
    fitting = overview.queues[: room if overview.queues_total <= room else room - 1]
    for queue in fitting:
        yield _queue(queue, overview.at, first, spark)
    hidden = overview.queues_total - len(fitting)
    if hidden:
        yield Text(f"and {hidden:,} more", style="dim")


def _queue(queue: QueueView, now: float, first: int, spark: int) -> Text:
    waiting = f"{queue.counts.get(State.AVAILABLE, 0):,}"
    if queue.capacity is not None:
        waiting = f"{queue.depth:,}/{queue.capacity:,}"
    cells = (
        waiting,
        "-" if queue.oldest_at is None else span(now - queue.oldest_at),
        f"{queue.counts.get(State.RUNNING, 0):,}",
        rate(queue.enqueued_rate),
        rate(queue.completed_rate),
        "-" if queue.failed_share is None else f"{queue.failed_share:.0%}",
    )
    line = Text(f"{SIGNS[queue.level]} ", style=STYLES[queue.level])
    name = Text(escape_line(queue.name), style="default")
    name.truncate(first - 2, overflow="ellipsis", pad=True)
    line.append_text(name)
    numbers = "".join(f"{cell:>{size}}" for cell, size in zip(cells, WIDTHS, strict=True))
    line.append(numbers, style="not bold default")
    if spark >= 10:
        room = spark - (len(queue.says) + 1 if queue.says else 0)
        line.append(f"  {sparkline(queue.spark[-max(0, room) :] if room > 0 else ())}", "cyan")
        line.append(f" {queue.says}" if queue.says else "")
    return line


def _job(job: RunningJob, now: float) -> Text:
    since = "-" if job.started_at is None else span(now - job.started_at)
    doing = "cancelling" if job.cancel_requested_at is not None else ""
    parts = (f"{since:>12}", job.id[-12:], job.task, f"in {job.worker}", doing)
    return Text(escape_line("  ".join(part for part in parts if part)))


def _first(lines: Sequence[Text], most: int, what: str) -> list[Text]:
    if len(lines) <= most:
        return list(lines)
    rest = len(lines) - most + 1
    return [*lines[: most - 1], Text(f"and {rest:,} {what}", style="dim")]


def _fit(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line
