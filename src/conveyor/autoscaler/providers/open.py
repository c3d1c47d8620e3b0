"""The providers: a row each, with how it is made from its table of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UsageError
from ..agent_launch import Launch, read_options
from ..provider import Provider
from .command import CommandProvider, CommandSettings
from .process import ProcessProvider, ProcessSettings

Make = Callable[[Mapping[str, Any], Launch], Provider]


def open_provider(name: str, settings: Mapping[str, Any], launch: Launch) -> Provider:
    """Return a provider for all pools that name it. Close it in the loop that used it.

    UsageError when there is none of that name, or its settings mean nothing to it.
    """
    if name not in PROVIDERS:
        raise UsageError(f"there is no provider {name!r}: choose from {', '.join(PROVIDERS)}")
    return PROVIDERS[name](settings, launch)


def _process(settings: Mapping[str, Any], launch: Launch) -> Provider:
    return ProcessProvider(read_options(ProcessSettings, settings, "provider process"), launch)


def _command(settings: Mapping[str, Any], launch: Launch) -> Provider:
    return CommandProvider(read_options(CommandSettings, settings, "provider command"), launch)


def _docker(settings: Mapping[str, Any], launch: Launch) -> Provider:
    # They speak HTTP, with a driver that is optional.
    try:
        from .docker import DockerProvider, DockerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_http("docker") from error
    return DockerProvider(read_options(DockerSettings, settings, "provider docker"), launch)


def _kubernetes(settings: Mapping[str, Any], launch: Launch) -> Provider:
    try:
        from .kubernetes import KubernetesProvider, KubernetesSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_http("kubernetes") from error
    read = read_options(KubernetesSettings, settings, "provider kubernetes")
    return KubernetesProvider(read, launch)


def _without_http(name: str) -> UsageError:
    return UsageError(f"the provider {name} needs aiohttp: install conveyor[http]")


PROVIDERS: dict[str, Make] = {
    "process": _process,
    "command": _command,
    "docker": _docker,
    "kubernetes": _kubernetes,
}
