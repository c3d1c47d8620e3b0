"""The setting that says where `conveyor run` serves the dashboard."""

from __future__ import annotations

import pytest

from conveyor.core.dashboard_address import AUTO, OFF, DashboardAddress, parse_dashboard
from conveyor.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("auto", AUTO),
        ("off", OFF),
        ("0", DashboardAddress("127.0.0.1", 0)),
        ("8080", DashboardAddress("127.0.0.1", 8080)),
        ("0.0.0.0:8080", DashboardAddress("0.0.0.0", 8080)),
        ("[::1]:65535", DashboardAddress("::1", 65535)),
    ],
)
def test_an_address_is_a_word_a_port_or_a_host_and_a_port(
    text: str, address: DashboardAddress
) -> None:
    assert parse_dashboard(text) == address
    assert parse_dashboard(str(address)) == address


@pytest.mark.parametrize("text", ["", "on", ":8080", "host:", "65536", "-1", "8080:x", "\uff18"])
def test_anything_else_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be auto, off, a port") as error:
        parse_dashboard(text)
    assert repr(text) in str(error.value)
