"""The configuration file of a scaler: policy, server and providers."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..errors import UsageError
from . import config_values
from .agent_launch import AgentLaunch
from .policy import Policy, parse_policy
from .provider import Provider
from .providers.open import PROVIDERS, open_provider

# The default name of a scaler. Scalers of one name elect a leader among themselves.
DEFAULT_NAME = "scaler"
TOP_LEVEL_KEYS = ("name", "server", "providers", "pools", "cost_cap")
SERVER_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "url": config_values.string,
    "token_file": config_values.string,
    "ca_file": config_values.string,
    "args": config_values.strings,
}


class ScalerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a file. `server` and `providers` are kept as written; see `agent_launch`."""

    policy: Policy
    name: str = DEFAULT_NAME
    server: dict[str, Any] = {}
    providers: dict[str, dict[str, Any]] = {}
    where: str = "the policy"

    def agent_launch(self, store_url: str = "") -> AgentLaunch:
        """Return what agents are started with; `store_url` is used if the file names no server.

        UsageError if the address is not one that another machine could reach.
        """
        url = self.server.get("url", store_url)
        if not url.startswith(("http://", "https://")):
            raise UsageError(
                f"{self.where}: agents need the URL of a server, got {url!r}: start "
                "`conveyor server` and give its address as machines see it, like "
                '[server] url = "https://jobs.example.com"'
            )
        return AgentLaunch(
            server=url,
            token_file=self.server.get("token_file", ""),
            ca_file=self.server.get("ca_file", ""),
            args=tuple(self.server.get("args", ())),
        )

    def open_providers(self, launch: AgentLaunch) -> dict[str, Provider]:
        """Return the providers that pools name and those that only have settings.

        UsageError if a provider rejects its settings. Close them in the event loop that used them.
        """
        names = [*self.providers, *(pool.spec.provider for pool in self.policy.pools)]
        return {
            name: open_provider(name, self.providers.get(name, {}), launch)
            for name in dict.fromkeys(names)
        }


def parse_config(text: str, *, where: str = "the policy") -> ScalerConfig:
    """Parse a configuration in TOML; UsageError says what is wrong with it."""
    try:
        top = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error
    config_values.reject_unknown_keys(top, TOP_LEVEL_KEYS, where)
    server = _table(top, "server", where)
    config_values.reject_unknown_keys(server, tuple(SERVER_KEYS), f"{where}, [server]")
    for key in server:
        config_values.read_value(server, key, SERVER_KEYS[key], f"{where}, [server]")
    providers = _table(top, "providers", where)
    config_values.reject_unknown_keys(providers, tuple(PROVIDERS), f"{where}, [providers]")
    return ScalerConfig(
        policy=parse_policy(top, where),
        name=config_values.read_value(top, "name", config_values.string, where) or DEFAULT_NAME,
        server=server,
        providers={key: _table(providers, key, f"{where}, [providers]") for key in providers},
        where=where,
    )


def _table(parent: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = config_values.read_value(parent, key, config_values.table, where)
    return cast("dict[str, Any]", found or {})
