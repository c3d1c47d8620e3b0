"""Which parts of an address are secrets: an address is shown, logged and passed on without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode

# The options of libpq whose values are secrets. Others, like `passfile` and `sslkey`, name files.
SECRET_OPTIONS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)
PASSWORD = "password"  # noqa: S105 - only its name
_OF_USER = re.compile(r"(//[^:/@?#]*:)[^/?#]*(?=@)")
_OPTION = re.compile(r"(?<=[?&])([^=&#]*)=([^&#]+)")
# How several secrets begin where one text is passed on.
_SEVERAL = "libpq:"


def is_secret(name: str) -> bool:
    """Whether an option, as it is written in an address, is a secret."""
    return unquote(name).lower() in SECRET_OPTIONS


def without_secrets(url: str) -> str:
    """Return an address as it may be shown, also one that cannot be read."""
    return without_secret_options(_OF_USER.sub(r"\1…", url), "…")


def without_secret_options(url: str, mark: str) -> str:
    """Return an address with a mark instead of the value of each option that is a secret."""
    return _OPTION.sub(lambda each: f"{each[1]}={mark}" if is_secret(each[1]) else each[0], url)


def join_secrets(secrets: Mapping[str, str]) -> str:
    """Return secrets as one text, for `split_secrets`; a password alone is that text."""
    password = secrets.get(PASSWORD, "")
    if secrets.keys() <= {PASSWORD} and not password.startswith(_SEVERAL):
        return password
    return _SEVERAL + urlencode(secrets)


def split_secrets(text: str) -> dict[str, str]:
    """Return the secrets in a text of `join_secrets`, by option."""
    if text.startswith(_SEVERAL):
        return dict(parse_qsl(text.removeprefix(_SEVERAL)))
    return {PASSWORD: text} if text else {}
