"""Loads the application that a command names, with the settings and the store in force."""

from __future__ import annotations

import importlib
import os
import sys

from ...client.app import Conveyor
from ...core.error_info import describe_import_error, raised_at
from ...errors import UsageError
from ...settings import (
    FLAG,
    PREFIX,
    Settings,
    absolute_url,
    current_folder,
    load_settings,
)
from ...system.own_program import application_path

# Imported before the application's directory is on the path: a file in it, such as queue.py, would
# replace a module of the standard library that these import.
OWN_MODULES = ("conveyor.store.sqlite.store", "conveyor.worker.assemble")


def load_app(where: str, folder: str = "") -> Conveyor:
    """Import "module:name" with the current directory on the path; UsageError if that fails.

    `folder` is another directory to search: that of the file that names the application.
    """
    module_name, colon, name = where.partition(":")
    if not colon or not name or not all(map(str.isidentifier, module_name.split("."))):
        raise UsageError(f"invalid application {where!r}: expected module:name, like app:belt")
    for own in OWN_MODULES:
        importlib.import_module(own)
    sys.path[:] = application_path(sys.path, *filter(None, (os.getcwd(), folder)))
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except (Exception, SystemExit) as error:
        raise UsageError(_why_not_imported(where, module_name, error)) from error
    if found is None:
        raise UsageError(f"cannot load application {where!r}: {module_name} has no {name!r}")
    if not isinstance(found, Conveyor):
        raise UsageError(f"{where!r} is a {type(found).__name__}, not a Conveyor")
    return found


def _why_not_imported(where: str, module_name: str, error: BaseException) -> str:
    line = raised_at(error)
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing == module_name and missing.endswith(".py"):
        return f"invalid application {where!r}: write the module's name without .py, like app:belt"
    if not line and missing and f"{module_name}.".startswith(f"{missing}."):
        return (
            f"cannot load application {where!r}: no module {missing!r} in {os.getcwd()} or on "
            "the Python path; run this in the application's directory or set PYTHONPATH"
        )
    return f"cannot import application {where!r}: {describe_import_error(error)}"


def load_app_and_settings(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application and the settings in force. UsageError if its store is in conflict."""
    settings = load_settings({"app": app, **flags})
    if not settings["app"]:
        raise UsageError("no application given; use conveyor worker module:name")
    if settings.sources["url"] == FLAG:
        export_store(str(settings["url"]))
    belt = load_configured_app(settings)
    belt.choose_store(settings)
    return belt, settings


def load_configured_app(settings: Settings) -> Conveyor:
    """Import the application that the settings name."""
    return load_app(str(settings["app"]), settings.folder_of("app"))


def export_store(url: str, token_file: str = "") -> None:
    """Make a store that a flag names the one of this process, and of those that it starts."""
    os.environ[PREFIX + "URL"] = absolute_url(url, current_folder())
    if token_file:
        os.environ[PREFIX + "TOKEN_FILE"] = os.path.abspath(token_file)


def belt_without_app(url: str, token: str | None = None) -> Conveyor:
    """Return a Conveyor without tasks on exactly this store."""
    belt = Conveyor()
    belt.divert(url, token=token)
    return belt
