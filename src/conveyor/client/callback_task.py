"""Which tasks can be callbacks, and how a job stores them."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ..core.callbacks import EndedJob
from ..core.job import NO_OPTIONS, Callback, CallbackOn, State
from ..core.storable import NOT_OF_CALLBACKS
from ..core.task import Task
from ..errors import StaleArgumentsError, UsageError

# What is taken over from `task.using(...)`.
TAKEN = frozenset({"options", "priority", "queue"})
_EXAMPLE = EndedJob(id="0", task="task", queue="default", state=State.DISCARDED)


class CallbackTask(Protocol):
    """A task whose jobs can be enqueued when another job ends: it takes an `EndedJob`."""

    def enqueue(self, ended: EndedJob, /) -> object:
        """Enqueue a call."""
        ...


def callback(on: CallbackOn, given: Any) -> Callback:
    """Return a callback as it is stored; UsageError if the task cannot be one."""
    task, chosen = getattr(given, "task", None), getattr(given, "enqueue_options", None)
    if not isinstance(task, Task) or chosen is None:
        raise UsageError(
            f"must be a task that takes an EndedJob, got {given!r}: decorate a function with "
            "@belt.task and pass that"
        )
    _check_options(task, chosen)
    return Callback(
        on=on,
        task=task.name,
        parameter=_parameter(task),
        queue=chosen.queue or "default",
        priority=chosen.priority,
        options=chosen.options,
    )


def _parameter(task: Task) -> str:
    """Return the name of the parameter that gets the job that has ended."""
    name = None if task.kind == "command" else task.args.sole_parameter
    if name is None:
        raise UsageError(
            f"{task.name} cannot be a callback: it must take one argument, the EndedJob, and no "
            "other without a default"
        )
    try:
        task.args.decode(msgspec.json.encode({name: _EXAMPLE}))
    except StaleArgumentsError as error:
        raise UsageError(
            f"{task.name} cannot be a callback: annotate its parameter {name!r} as "
            f"conveyor.EndedJob ({error})"
        ) from error
    return name


def _check_options(task: Task, chosen: Any) -> None:
    default = type(chosen)()
    others = [name for name in chosen.__struct_fields__ if name not in TAKEN]
    wrong = [name for name in others if getattr(chosen, name) != getattr(default, name)]
    wrong += [
        name
        for name in NOT_OF_CALLBACKS
        if getattr(chosen.options, name) != getattr(NO_OPTIONS, name)
    ]
    if "callbacks" in wrong:
        raise UsageError(
            f"{task.name} has callbacks of its own, and a callback cannot have any: pass "
            f"{task.name}.using(on_discarded=None, on_finished=None)"
        )
    if wrong:
        raise UsageError(
            f"{task.name} cannot be a callback with {wrong[0]}: that belongs to one enqueue; "
            "leave it out"
        )
