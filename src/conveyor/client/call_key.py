"""The unique key of a call: as it was given, or made of the call's arguments."""

from __future__ import annotations

import msgspec

from ..core.key_template import check_arguments
from ..core.names import validate_name
from ..core.storable import check_on_conflict
from ..core.task import Task
from ..errors import UsageError
from .options import EnqueueOptions


def with_defaults(task: Task, chosen: EnqueueOptions) -> EnqueueOptions:
    """Return options whose key can be made of a call that leaves out arguments.

    UsageError if the key names an argument that the task does not have.
    """
    key = chosen.key
    if key is None or task.kind == "command":
        return chosen
    check_arguments(key, task.args.parameters, task.name)
    defaults = task.args.default_values(key.arguments)
    return msgspec.structs.replace(chosen, key=msgspec.structs.replace(key, defaults=defaults))


def keyed(chosen: EnqueueOptions, payload: bytes) -> EnqueueOptions:
    """Return the options of a call with these arguments (JSON): its key is no template any more.

    UsageError if an argument cannot be part of a key, or `on_conflict` has no key.
    """
    template = chosen.key
    if template is None:
        check_on_conflict(chosen.options)
        return chosen
    key = template.render(payload)
    try:
        validate_name(key)
    except UsageError as error:
        raise UsageError(f"key {template.text!r} of this call: {error}") from error
    options = msgspec.structs.replace(chosen.options, key=key)
    check_on_conflict(options)
    return msgspec.structs.replace(chosen, key=None, options=options)
