"""Which parts of an address are hidden where it is shown, and how they are passed on."""

from __future__ import annotations

import pytest

from conveyor.core.address_secrets import (
    SECRET_OPTIONS,
    join_secrets,
    split_secrets,
    without_secrets,
)


@pytest.mark.parametrize("option", sorted(SECRET_OPTIONS))
def test_a_secret_option_of_an_address_is_not_shown(option: str) -> None:
    shown = without_secrets(f"postgresql://me:first@h/db?{option}=sec%20ond&sslmode=require")
    assert shown == f"postgresql://me:…@h/db?{option}=…&sslmode=require"


@pytest.mark.parametrize("option", ["sslp%61ssword", "SSLPassword", "%70assword"])
def test_a_secret_option_is_known_however_its_name_is_written(option: str) -> None:
    assert without_secrets(f"postgresql://h/db?a=1&{option}=x#y") == (
        f"postgresql://h/db?a=1&{option}=…#y"
    )


def test_options_that_name_files_are_shown() -> None:
    url = "postgresql://h/db?passfile=/run/pgpass&sslkey=/key&sslpasswords=1"
    assert without_secrets(url) == url


@pytest.mark.parametrize(
    "secrets",
    [
        {},
        {"password": "p@ss&=+ %"},
        {"password": "libpq:sslpassword=x"},
        {"sslpassword": "s"},
        {"password": "ü", "sslpassword": "a&b=c", "oauth_client_secret": "d"},
    ],
)
def test_secrets_that_are_passed_on_come_back(secrets: dict[str, str]) -> None:
    assert split_secrets(join_secrets(secrets)) == secrets


def test_a_password_alone_is_passed_on_as_it_is() -> None:
    assert join_secrets({"password": "p@ss"}) == "p@ss"
