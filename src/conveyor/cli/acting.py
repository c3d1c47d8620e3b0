"""Commands that change something: enqueue, retry, queues, schedules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import click
import msgspec

from ..client.options import JobOptions, Wishes, wish
from ..client.producer import Producer, QueueRule
from ..core.codec import check_plain
from ..core.command import command_task
from ..core.job import State
from ..core.pending import run_sync
from ..errors import InvalidTransitionError, UnknownTaskError, UsageError
from ..settings import load_settings
from ..store.ask import Blocking
from ..store.open import open_store
from .audit import audited
from .shared.common import (
    find_job,
    json_option,
    load_app,
    moment,
    opened,
    print_json,
    print_table,
    say,
    url_option,
)
from .shared.options import given, job_options


@click.command("enqueue")
@click.argument("task")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--args", "args_json", metavar="JSON", help="All arguments as a JSON object.")
@click.option("--app", metavar="MODULE:NAME", help="Check the call against this application.")
@click.option("--queue", help="The queue (default: the task's, or 'default').")
@click.option("--priority", type=int, help="Higher runs first.")
@click.option("--delay", help="Not before this long from now, like 90 or 5m.")
@click.option("--key", help="Unique among the live jobs of the task.")
@job_options
@click.option("--wait", help="How long to wait for room in a full queue.")
@json_option
@url_option
def enqueue_command(
    task: str,
    arguments: tuple[str, ...],
    args_json: str | None,
    app: str | None,
    as_json: bool,
    url: str | None,
    **options: Any,
) -> None:
    options = given(options)
    wishes = wish(Wishes(), JobOptions(**options))  # type: ignore[typeddict-item]
    values = _values(arguments, args_json)
    settings = load_settings({"url": url, "app": app})
    with_app = str(settings["app"])
    if with_app:
        job_id, existing = _through_app(with_app, task, values, options)
    else:
        job_id, existing = _straight(str(settings["url"]), task, values, wishes)
    if as_json:
        print_json({"id": job_id, "existing": existing})
    else:
        click.echo(job_id)


@click.command("retry")
@click.argument("job_ids", nargs=-1, required=True)
@json_option
@url_option
def retry_command(job_ids: tuple[str, ...], as_json: bool, url: str | None) -> int:
    states: dict[str, str] = {}
    refused = False
    with opened(url) as store, audited(store) as note:
        for job_id in job_ids:
            found = find_job(store, job_id)
            try:
                states[found.id] = store.retry(found.id).result().state
                note("retry", found.id)
            except InvalidTransitionError as error:
                say(f"conveyor: {error}")
                refused = True
    _print_states(states, as_json=as_json)
    return 1 if refused else 0


@click.command("queues")
@click.argument("action", type=click.Choice(["list", "pause", "resume"]), default="list")
@click.argument("names", nargs=-1)
@json_option
@url_option
def queues_command(action: str, names: tuple[str, ...], as_json: bool, url: str | None) -> None:
    with opened(url) as store, audited(store) as note:
        if action != "list":
            _need_names(action, names, "queue")
            for name in names:
                store.set_paused(name, paused=action == "pause").result()
                note(f"{action} queue", name)
            return
        queues = store.counts().result()
    if as_json:
        print_json([{**msgspec.to_builtins(queue), "depth": queue.depth} for queue in queues])
        return
    rows = [
        (
            queue.name,
            "paused" if queue.paused else "open",
            f"{queue.depth}" + ("" if queue.capacity is None else f"/{queue.capacity}"),
            str(queue.offers),
            *(str(queue.counts.get(state, 0)) for state in State),
        )
        for queue in queues
    ]
    print_table(("QUEUE", "", "DEPTH", "OFFERS", *(state.upper() for state in State)), rows)


@click.command("schedules")
@click.argument("action", type=click.Choice(["list", "pause", "resume"]), default="list")
@click.argument("names", nargs=-1)
@json_option
@url_option
def schedules_command(action: str, names: tuple[str, ...], as_json: bool, url: str | None) -> None:
    with opened(url) as store, audited(store) as note:
        if action != "list":
            _need_names(action, names, "schedule")
            for name in names:
                store.pause_schedule(name, paused=action == "pause").result()
                note(f"{action} schedule", name)
            return
        schedules = store.schedules().result()
    if as_json:
        print_json(schedules)
        return
    rows = [
        (
            each.name,
            "paused" if each.paused else "open",
            each.cron,
            each.timezone,
            each.missed,
            moment(each.last_at),
            moment(each.next_at),
        )
        for each in schedules
    ]
    print_table(("SCHEDULE", "", "RULE", "ZONE", "MISSED", "LAST", "NEXT"), rows)


def _values(arguments: tuple[str, ...], args_json: str | None) -> dict[str, Any]:
    if args_json is not None:
        if arguments:
            raise UsageError("give the arguments as NAME=VALUE or with --args, not both")
        try:
            values = msgspec.json.decode(args_json)
        except msgspec.DecodeError as error:
            raise UsageError(f"--args is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise UsageError('--args is an object of arguments by name, like {"path": "cat.jpg"}')
        return cast("dict[str, Any]", values)
    return dict(_value(argument) for argument in arguments)


def _value(argument: str) -> tuple[str, Any]:
    name, equals, text = argument.partition("=")
    if not equals or not name:
        raise UsageError(f"{argument!r}: arguments are written NAME=VALUE")
    try:
        return name, msgspec.json.decode(text)
    except msgspec.DecodeError:
        return name, text


def _through_app(
    where: str, task: str, values: dict[str, Any], options: dict[str, Any]
) -> tuple[str, bool]:
    belt = load_app(where)
    # "send" will do for "shop.send" where only one task ends so.
    fitting = [name for name in belt.functions if name == task or name.endswith(f".{task}")]
    known = belt.functions.get(task) or (belt.functions[fitting[0]] if len(fitting) == 1 else None)
    if known is None:
        raise UnknownTaskError(
            f"{where} has no task {task!r}; it has {', '.join(sorted(belt.functions)) or 'none'}"
        )
    job = known.using(**options).enqueue(**values)
    belt.close()
    return job.id, job.existing


def _straight(url: str, task: str, values: dict[str, Any], wishes: Wishes) -> tuple[str, bool]:
    """Enqueue without the application: nobody checks the arguments but the worker."""
    check_plain(values, f"the arguments of {task}")
    described = command_task()
    if task != described.name:
        described = replace(described, name=task, kind="thread")
    producer = Producer(lambda: open_store(url))
    try:
        known = {queue.name: queue.capacity for queue in producer.store.counts().result()}
        name = wishes.queue or "default"
        producer.queues[name] = QueueRule(name, known.get(name))
        payload = msgspec.json.encode(values)
        [job] = run_sync(producer.enqueue(Blocking(), described, wishes, [payload]))
    finally:
        producer.close()
    return job.id, job.existing


def _need_names(action: str, names: tuple[str, ...], what: str) -> None:
    if not names:
        raise UsageError(f"name the {what}s to {action}")


def _print_states(states: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(states)
    else:
        for job_id, state in states.items():
            click.echo(f"{job_id} {state}")
