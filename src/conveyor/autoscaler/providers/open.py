"""The table of providers, and how each is opened from its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UsageError
from ..agent_launch import AgentLaunch, convert_options
from ..provider import Provider
from .command import CommandProvider, CommandSettings
from .process import ProcessProvider, ProcessSettings

ProviderFactory = Callable[[Mapping[str, Any], AgentLaunch], Provider]


def open_provider(name: str, settings: Mapping[str, Any], launch: AgentLaunch) -> Provider:
    """Open a provider for all pools that name it. Close it in the event loop that used it.

    UsageError if there is none of that name, or it rejects its settings.
    """
    if name not in PROVIDERS:
        raise UsageError(f"unknown provider {name!r}; choose from {', '.join(PROVIDERS)}")
    return PROVIDERS[name](settings, launch)


def _open_process(settings: Mapping[str, Any], launch: AgentLaunch) -> Provider:
    return ProcessProvider(convert_options(ProcessSettings, settings, "provider process"), launch)


def _open_command(settings: Mapping[str, Any], launch: AgentLaunch) -> Provider:
    return CommandProvider(convert_options(CommandSettings, settings, "provider command"), launch)


def _open_docker(settings: Mapping[str, Any], launch: AgentLaunch) -> Provider:
    # aiohttp is optional.
    try:
        from .docker import DockerProvider, DockerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_http("docker") from error
    return DockerProvider(convert_options(DockerSettings, settings, "provider docker"), launch)


def _open_kubernetes(settings: Mapping[str, Any], launch: AgentLaunch) -> Provider:
    try:
        from .kubernetes import KubernetesProvider, KubernetesSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_http("kubernetes") from error
    converted = convert_options(KubernetesSettings, settings, "provider kubernetes")
    return KubernetesProvider(converted, launch)


def _without_http(name: str) -> UsageError:
    return UsageError(
        f"provider {name} needs aiohttp: install it with `pip install conveyor[http]`"
    )


PROVIDERS: dict[str, ProviderFactory] = {
    "process": _open_process,
    "command": _open_command,
    "docker": _open_docker,
    "kubernetes": _open_kubernetes,
}
