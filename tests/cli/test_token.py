"""`conveyor token`: create, list and revoke."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.core.access import matches_token, token_id
from conveyor.store.messages import Hint
from conveyor.store.sqlite.store import SqliteStore


def audit(conveyor: Command) -> list[tuple[str, str]]:
    """Return what was done to whom, oldest first."""
    return [(line["what"], line["subject"]) for line in conveyor("audit", "--json").data[::-1]]


def test_a_token_is_printed_alone_and_once_and_the_store_keeps_what_fits_it(
    conveyor: Command, folder: Path
) -> None:
    ran = conveyor("token", "create", "laptop of Ann", "--scope", "read", "--scope", "enqueue")
    text = ran.out.removesuffix("\n")
    assert (ran.code, token_id(text) is None) == (0, False)
    assert "until revoked. Keep it secret; it is not shown again" in ran.err
    store = SqliteStore(folder / "jobs.db")
    [kept] = store.tokens(limit=9).result()
    store.close()
    assert matches_token(kept, text)
    assert (kept.name, kept.scopes) == ("laptop of Ann", {"read", "enqueue"})
    secret = text.rpartition(kept.id)[2][1:]
    for path in folder.glob("jobs.db*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    for args in (["token", "list"], ["token", "list", "--json"], ["audit", "--json"]):
        listed = conveyor(*args).out
        assert kept.id in listed
        assert secret not in listed
        assert kept.digest not in listed


def test_a_token_can_be_limited_in_queues_and_in_time(conveyor: Command) -> None:
    made = conveyor(
        *("token", "create", "ci", "--scope", "agent", "--queue", "mail", "--queue", "small"),
        *("--expires", "90d", "--json"),
    ).data
    assert made["token"].startswith(f"cvy_{made['id']}_")
    assert made["expires_at"] - made["created_at"] == 90 * 86400
    [listed] = conveyor("token", "list", "--json").data
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert (listed["queues"], listed["standing"]) == (["mail", "small"], "good")
    assert f"{made['id']}\tci\tgood\tagent\tmail,small\t" in conveyor("token", "list").out


def test_a_revoked_token_is_listed_as_such_and_other_processes_hear_of_it(
    conveyor: Command, really: Command, folder: Path
) -> None:
    made = conveyor("token", "create", "ci", "--scope", "agent", "--json").data
    heard: list[Hint] = []
    rung = threading.Event()

    def hear(hint: Hint) -> None:
        heard.append(hint)
        rung.set()

    server = SqliteStore(folder / "jobs.db")
    stop = server.listen(["access"], hear)
    assert really("token", "revoke", made["id"]).code == 0
    assert rung.wait(60)
    stop()
    server.close()
    assert heard == [Hint("access", (made["id"],))]
    [listed] = conveyor("token", "list", "--json").data
    assert listed["standing"] == "revoked"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["create", "ci"], 2, "--scope"),
        (["create", "ci", "--scope", "root"], 2, "root"),
        (["create", "", "--scope", "read"], 2, "must be 1 to 100 printable characters"),
        (["create", "ci", "--scope", "read", "--expires", "0"], 2, "is in the past"),
        (["create", "ci", "--scope", "read", "--expires", "soon"], 2, "'soon'"),
        (["create", "ci", "--scope", "admin", "--queue", "mail"], 2, "cannot be limited to queues"),
        (["revoke", "nobody00"], 3, "token 'nobody00' not found"),
        (["revoke"], 2, "ID..."),
    ],
)
def test_a_wrong_token_command_says_why_and_leaves_nothing(
    conveyor: Command, belt: Conveyor, args: list[str], code: int, said: str
) -> None:
    assert belt.jobs() == []
    ran = conveyor("token", *args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert conveyor("token", "list", "--json").data == []
    assert audit(conveyor) == []
