"""The file of a scaler: its policy, the server that agents are told of, and providers' settings."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..errors import UsageError
from . import config_values
from .agent_launch import Launch
from .policy import Policy, policy_from
from .provider import Provider
from .providers.open import PROVIDERS, open_provider

# What a scaler is called, unless its file says otherwise: those of one name take turns.
NAME = "scaler"
TOP = ("name", "server", "providers", "pools", "cost_cap")
SERVER: Mapping[str, Callable[[Any], Any]] = {
    "url": config_values.text,
    "token_file": config_values.text,
    "ca_file": config_values.text,
    "args": config_values.texts,
}


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says. `server` and `providers` are as they stand there; see `launch`."""

    policy: Policy
    name: str = NAME
    server: dict[str, Any] = {}
    providers: dict[str, dict[str, Any]] = {}
    where: str = "the policy"

    def launch(self, url: str = "") -> Launch:
        """Return what agents are told; `url` is the store's, if the file names no server.

        UsageError when that is none that another machine could reach.
        """
        found = self.server.get("url", url)
        if not found.startswith(("http://", "https://")):
            raise UsageError(
                f"{self.where}: agents need a server, and {found or 'nothing'} is none: start "
                "`conveyor server`, and give its address as machines see it, like "
                '[server] url = "https://jobs.example.com"'
            )
        return Launch(
            server=found,
            token_file=self.server.get("token_file", ""),
            ca_file=self.server.get("ca_file", ""),
            args=tuple(self.server.get("args", ())),
        )

    def open_providers(self, launch: Launch) -> dict[str, Provider]:
        """Return the providers that pools name, and those that only have settings.

        UsageError when their settings mean nothing to them. Close them in the loop that used them.
        """
        named = [*self.providers, *(pool.spec.provider for pool in self.policy.pools)]
        return {
            name: open_provider(name, self.providers.get(name, {}), launch)
            for name in dict.fromkeys(named)
        }


def read_configuration(text: str, *, where: str = "the policy") -> Configuration:
    """Return what a text in TOML says; UsageError says what is wrong with it."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} cannot be read as TOML: {error}") from error
    config_values.refuse_unknown(table, TOP, where)
    server = _table(table, "server", where)
    config_values.refuse_unknown(server, tuple(SERVER), f"{where}, [server]")
    for key in server:
        config_values.value(server, key, SERVER[key], f"{where}, [server]")
    providers = _table(table, "providers", where)
    config_values.refuse_unknown(providers, tuple(PROVIDERS), f"{where}, [providers]")
    return Configuration(
        policy=policy_from(table, where),
        name=config_values.value(table, "name", config_values.text, where) or NAME,
        server=server,
        providers={key: _table(providers, key, f"{where}, [providers]") for key in providers},
        where=where,
    )


def _table(given: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    return cast("dict[str, Any]", config_values.value(given, key, config_values.table, where) or {})
