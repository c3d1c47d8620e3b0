"""Renders the public Python names as Markdown: signatures, fields and docstrings."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

import conveyor
from conveyor import State, testing
from conveyor.client import options, task_function
from conveyor.client.hook_decorators import AroundDecorator, EventSubscriber
from conveyor.client.task_function import TaskDecorator
from conveyor.core import job, task
from conveyor.core.record import Record

# What each section shows, in order. Names of `conveyor`, but for FakeClock.
SECTIONS: dict[str, tuple[str, ...]] = {
    "The queue": ("Conveyor", "Queue"),
    "Tasks": ("TaskFunction", "BoundCall", "TaskOptions", "JobOptions"),
    "Jobs": ("Job",),
    "Records": (
        "JobRecord",
        "State",
        "Options",
        "AttemptError",
        "ErrorInfo",
        "EndedJob",
        "Progress",
        "StopNote",
        "FileInfo",
    ),
    "Events": (
        "Event",
        "JobEvent",
        "JobAttempt",
        "JobStarted",
        "JobEnded",
        "JobSucceeded",
        "JobRetrying",
        "JobDiscarded",
        "JobCancelled",
        "JobSnoozed",
        "JobReleased",
        "JobRescued",
        "WorkerEvent",
        "WorkerStarted",
        "WorkerPaused",
        "WorkerResumed",
        "WorkerDraining",
        "WorkerStopped",
        "ScalerActed",
    ),
    "Inside a job": ("current_job", "CurrentJob", "Snooze"),
    "Workers": ("Worker", "WorkerOptions", "CommandRules"),
    "Backoffs": ("Fixed", "Steps", "Exponential"),
    "Errors": (
        "ConveyorError",
        "UsageError",
        "EncodingError",
        "StaleArgumentsError",
        "UnknownTaskError",
        "DuplicateIdError",
        "NotFoundError",
        "QueueFullError",
        "BatchTooLargeError",
        "AccessError",
        "InvalidTransitionError",
        "BusyError",
        "JobError",
        "JobDiscardedError",
        "JobCancelledError",
        "WaitTimeoutError",
        "UnavailableError",
        "PassingError",
        "StoreVersionError",
        "CorruptStoreError",
    ),
    "conveyor.testing": ("FakeClock",),
}
# Public by their spelling, but for this package only.
INTERNAL = {
    "BoundCall": {"task", "enqueue_options", "payload"},
    "CommandRules": {"label", "passed_on"},
    "Conveyor": {"hooks"},
    "CurrentJob": {"write_output"},
    "Queue": {"rule"},
    "TaskFunction": {"task", "enqueue_options"},
    "Worker": {"abandon_at_exit", "assemble", "parts"},
}
# The names of types in signatures, and where they are defined.
ALIASES: dict[str, types.ModuleType] = {
    "AnyCall": task_function,
    "Backoffs": options,
    "Duration": options,
    "KeyUntil": job,
    "Kind": task,
    "Missed": job,
    "Moment": options,
    "OnShutdown": job,
    "WhenFull": job,
}
ASSIGNED = re.compile(r"^ {8}self\.([a-z]\w*)(?:: (\S.*?))? = ", re.MULTILINE)
WIDTH = 100


class Member(NamedTuple):
    """A method or an attribute: its name, how it is written, and its docstring."""

    name: str
    written: str
    text: str


# What is said once for a whole section.
INTRODUCTIONS = {
    "Tasks": "The [reference](reference.md#options-of-tasks-and-jobs) explains each option.",
    "Events": "What handlers of `belt.on` get; see [events and hooks](events.md).",
    "Records": "`to_dict()` of a record returns its fields as plain data, for `json.dumps` and web "
    "frameworks.",
}


def render() -> str:
    """Return the whole reference."""
    parts: list[str] = []
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [f"{INTRODUCTIONS[title]}\n"] if title in INTRODUCTIONS else []
        parts += [_describe(name, public(name)) for name in names]
    parts.append("## Types\n\n" + _aliases())
    return "\n".join(parts)


def public(name: str) -> Any:
    """Return a public object by its name."""
    return getattr(testing if name == "FakeClock" else conveyor, name)


def members(name: str) -> list[Member]:
    """Return the public members of a class, in the order of their definition."""
    cls = public(name)
    if not inspect.isclass(cls) or issubclass(cls, BaseException):
        return []
    hidden = INTERNAL.get(name, set())
    found = {**_attributes(cls), **_methods(cls)}
    return [member for member in found.values() if member.name not in hidden]


def _describe(name: str, value: Any) -> str:
    if not inspect.isclass(value):
        return f"### {name}\n\n{_code(_signature(name, value))}\n{_text(value)}\n"
    if issubclass(value, BaseException):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        return f"### {name}\n\n{_code(f'class {name}({bases})')}\n{_text(value)}\n"
    if issubclass(value, str):
        return (
            f"### {name}\n\n{_text(value)}\n\nOne of {', '.join(f'`{each}`' for each in value)}.\n"  # type: ignore[attr-defined]
        )
    if issubclass(value, msgspec.Struct):
        head, fields = f"class {name}", _fields(value)
    elif typing.is_typeddict(value):
        head, fields = f"class {name}(TypedDict)", _keys(value)
    else:
        head, fields = _constructor(name, value), ""
    described = [f"### {name}\n\n{_code(head)}\n{_text(value)}\n", fields]
    described += [
        f"#### {name}.{each.name}\n\n{_code(each.written)}\n{each.text}\n" for each in members(name)
    ]
    return "\n".join(filter(None, described))


def _constructor(name: str, cls: type) -> str:
    if name in ("BoundCall", "CurrentJob", "Job", "Queue", "TaskFunction", "Worker"):
        return f"class {name}"  # made by methods, not by programs
    return _signature(f"class {name}", cls.__init__)


def _attributes(cls: type) -> dict[str, Member]:
    """Return what `__init__` assigns. `task` is the decorator of a queue."""
    if issubclass(cls, msgspec.Struct) or typing.is_typeddict(cls):
        return {}
    found: dict[str, Member] = {}
    for name, annotation in ASSIGNED.findall(inspect.getsource(cls)):
        if annotation == "TaskDecorator":
            with_options = typing.get_overloads(TaskDecorator.__call__)[-1]
            written = _signature("@task", with_options)
            found[name] = Member(name, written, _text(TaskDecorator.__call__))
        elif annotation in HOOKS:
            hook = HOOKS[annotation].__call__
            found[name] = Member(name, _signature(name, hook), _text(hook))
        elif name in ATTRIBUTES.get(cls.__name__, {}):
            written, text = ATTRIBUTES[cls.__name__][name]
            found[name] = Member(name, written, text)
        else:
            found[name] = Member(name, f"{name}: {annotation or '?'}", "")
    return found


# The attributes that are called like methods.
HOOKS: dict[str, Any] = {"EventSubscriber": EventSubscriber, "AroundDecorator": AroundDecorator}
# The attributes that have no docstring of their own.
ATTRIBUTES = {
    "Job": {
        "id": ("id: str", "The job's id."),
        "existing": (
            "existing: bool",
            "Whether another job held the unique key; this is then that job.",
        ),
        "replaced": (
            "replaced: bool",
            "Whether that job has taken over the arguments and options of this call.",
        ),
    },
    "Worker": {
        "id": ("id: str", "The worker's id, as `conveyor workers` lists it."),
        "options": ("options: WorkerOptions", "The options it was made with."),
        "ended": ("ended: threading.Event", "Set when `run` has returned."),
    },
}


def _methods(cls: type) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for name in _names(cls):
        value = inspect.getattr_static(cls, name)
        if isinstance(value, property):
            assert value.fget is not None
            returned = inspect.signature(value.fget).return_annotation
            found[name] = Member(name, f"{name}: {_annotation(returned)}", _text(value))
        elif isinstance(value, types.FunctionType):
            found[name] = Member(name, _signature(name, value), _text(value))
        elif isinstance(value, classmethod | staticmethod):
            function: Any = value.__func__
            found[name] = Member(name, _signature(name, function), _text(function))
    return found


def _names(cls: type) -> Iterator[str]:
    """Return the public names of the functions and properties of this package's classes."""
    for base in cls.__mro__:
        if base is not Record and base.__module__.partition(".")[0] == "conveyor":
            for name in vars(base):
                is_field = name in getattr(cls, "__struct_fields__", ())
                if not name.startswith("_") and not is_field:
                    yield name


def _fields(cls: type[msgspec.Struct]) -> str:
    rows = ["| field | type | default |", "|---|---|---|"]
    for field in msgspec.structs.fields(cls):
        annotation = _in_table(_annotation(_own_annotation(cls, field.name)))
        rows.append(f"| `{field.name}` | `{annotation}` | {_default(field)} |")
    return "\n".join(rows) + "\n"


def _own_annotation(cls: type, name: str) -> Any:
    written = (inspect.get_annotations(base).get(name) for base in cls.__mro__)
    return next(each for each in written if each is not None)


def _default(field: Any) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f"`{_value(field.default)}`"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{_value(field.default_factory())}`"
    return "required"


def _keys(cls: type) -> str:
    """Return the keys of a TypedDict, as its source has them: those of its base are only named."""
    source = inspect.getsource(cls)
    rows = ["| key | type |", "|---|---|"]
    rows += [
        f"| all keys of `{base}` | |" for base in re.findall(r"class \w+\((\w+Options)", source)
    ]
    for name, written in re.findall(r"^ {4}(\w+): (.+)$", source, re.MULTILINE):
        rows.append(f"| `{name}` | `{_in_table(written)}` |")
    return "\n".join(rows) + "\n"


def _aliases() -> str:
    rows = ["| name | is |", "|---|---|"]
    for name, module in ALIASES.items():
        found = re.search(rf"^{name} = (.+)$", inspect.getsource(module), re.MULTILINE)
        assert found is not None, name
        rows.append(f"| `{name}` | `{_in_table(found[1])}` |")
    return "\n".join(rows) + "\n"


def _in_table(text: str) -> str:
    return text.replace("|", "\\|")


def _signature(name: str, function: Callable[..., Any]) -> str:
    """Return a signature as Python writes it, on one line, or one parameter a line if too long."""
    signature = inspect.signature(function)
    given = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    written: list[str] = []
    kind: Any = None
    for each in given:
        if each.kind is each.KEYWORD_ONLY and kind not in (each.KEYWORD_ONLY, each.VAR_POSITIONAL):
            written.append("*")
        if kind is each.POSITIONAL_ONLY and each.kind is not kind:
            written.append("/")
        written.append(_parameter(each))
        kind = each.kind
    if kind is inspect.Parameter.POSITIONAL_ONLY:
        written.append("/")
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    back = (
        ""
        if name.startswith(("class ", "@"))
        else f" -> {_annotation(signature.return_annotation)}"
    )
    line = f"{prefix}{name}({', '.join(written)}){back}"
    if len(line) <= WIDTH:
        return line
    inner = "".join(f"    {each},\n" for each in written)
    return f"{prefix}{name}(\n{inner}){back}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = _annotation(parameter.annotation)
    default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
    return f"{stars}{parameter.name}: {annotation}{default}"


def _annotation(annotation: Any) -> str:
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    found = re.fullmatch(r"ForwardRef\('(.*?)'.*\)", text)
    return re.sub(r"Unpack\[(\w+)\]", r"\1", found[1] if found else text)


def _value(value: object) -> str:
    match value:
        case msgspec.Struct():
            return f"{type(value).__name__}()" if value == type(value)() else repr(value)
        case State():
            return f"State.{value.name}"
        case str():
            return f'"{value}"'
        case frozenset() if not value:
            return "frozenset()"
        case dict() if value:
            return "{…}"
        case _:
            return repr(value)


def _text(value: Any) -> str:
    return inspect.getdoc(value) or ""


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"
