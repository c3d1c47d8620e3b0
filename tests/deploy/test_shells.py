"""A shell as PID 1 that passes no signals on is named, and one that does no harm is not."""

from __future__ import annotations

import pytest

from conveyor.cli.shared.shell_warning import describe_shell


@pytest.mark.parametrize(
    "first",
    [
        ["sh", "-c", "cd /app && conveyor worker app:belt"],
        ["/bin/bash", "-lc", "conveyor worker app:belt; true"],
        ["/bin/dash", "-e", "-c", "conveyor worker app:belt | cat"],
        ["ash", "-c", "x"],
        ["/bin/busybox", "sh", "-c", "x"],
        ["-bash", "-c", "x"],
    ],
)
def test_a_shell_with_a_text_is_warned_of_with_the_way_out(first: list[str]) -> None:
    said = describe_shell(1, first) or ""
    assert "docker stop" in said
    assert "exec conveyor" in said
    assert '["conveyor", "worker"' in said


@pytest.mark.parametrize(
    ("parent", "first"),
    [
        (0, ["sh", "-c", "x"]),  # we are PID 1 ourselves
        (7, ["sh", "-c", "x"]),  # somebody else is our parent, and passes signals on or not
        (1, ["/sbin/init"]),
        (1, ["/usr/bin/tini", "--", "conveyor", "worker"]),
        (1, ["bash"]),  # somebody types into it
        (1, ["bash", "--rcfile", "-c"]),
        (1, ["sh", "/entrypoint.sh", "-c"]),
        (1, []),
    ],
)
def test_nothing_is_said_of_any_other_parent(parent: int, first: list[str]) -> None:
    assert describe_shell(parent, first) is None
