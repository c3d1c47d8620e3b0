"""`conveyor doctor` without --quick."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Command

from conveyor import Conveyor
from conveyor.cli.shared.exposure import is_open_to_others
from conveyor.core.access import issue_token
from conveyor.store.messages import Claimant, Want


def test_doctor_finds_a_healthy_store_well_and_says_where_settings_come_from(
    conveyor: Command, belt: Conveyor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.functions["send"].enqueue("ann")
    (folder / "conveyor.toml").write_text('drain = "10s"\n')
    monkeypatch.setenv("CONVEYOR_CONCURRENCY", "3")
    ran = conveyor("doctor")
    assert ran.code == 0
    assert "NOT OK" not in ran.out
    assert f"drain\t10.0\t{folder / 'conveyor.toml'}" in ran.out
    assert "concurrency\t3\tthe environment (CONVEYOR_CONCURRENCY)" in ran.out
    assert "lease\t60.0\tdefault" in ran.out
    data = conveyor("doctor", "--json").data
    assert data["ok"]
    assert data["settings"]["drain"] == {"value": 10.0, "from": str(folder / "conveyor.toml")}


def test_doctor_finds_jobs_that_nobody_runs(conveyor: Command, belt: Conveyor) -> None:
    belt.functions["send"].enqueue("ann")
    belt.store.claim([Want("mail", 1)], Claimant("gone"), limit=1).result(10)
    ran = conveyor("doctor")
    assert ran.code == 1
    assert "1 running job, but no live worker" in ran.out


def warnings(command: Command, *args: str) -> dict[str, str]:
    """Return the warnings of doctor, by what they are about."""
    data = command("doctor", "--json", *args).data
    assert data["ok"]
    return {each["name"]: each["text"] for each in data["findings"] if each["warning"]}


@pytest.fixture
def public_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which each user of the machine may enter, if the one above it is so."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        monkeypatch.chdir(path)
        yield Path(path)


def modes(*given: int) -> Iterator[os.stat_result]:
    """Return the modes of a file, of its folder, and so on."""
    for mode in given:
        yield os.stat_result((mode, *[0] * 9))


@pytest.mark.parametrize(
    ("given", "is_open"),
    [
        ((0o644, 0o755, 0o755), True),
        ((0o602, 0o755, 0o755), True),
        ((0o640, 0o755, 0o755), False),
        ((0o644, 0o750, 0o755), False),
        ((0o644, 0o755, 0o700), False),
        ((0o644, 0o701, 0o755), True),
    ],
)
def test_a_file_is_open_to_others_if_all_its_folders_are(
    given: tuple[int, ...], is_open: bool
) -> None:
    each = modes(*(mode | stat.S_IFREG for mode in given))
    assert is_open_to_others("/folder/file", lambda _path: next(each)) is is_open


def test_doctor_warns_of_files_that_any_user_can_read(
    conveyor: Command, public_folder: Path
) -> None:
    belt = Conveyor("jobs.db")
    belt.store.close()
    secret = public_folder / "secret"
    secret.write_text("cvy_x")
    for path in (secret, public_folder / "jobs.db"):
        path.chmod(0o600)
    (public_folder / "conveyor.toml").write_text('token_file = "secret"\n')
    assert warnings(conveyor) == {}
    for path in (secret, public_folder / "jobs.db"):
        path.chmod(0o644)
    found = warnings(conveyor)
    assert f"the secret in {secret}" in found["secrets"]
    assert "jobs.db" in found["files"]
    public_folder.chmod(0o700)
    assert warnings(conveyor) == {}


def test_doctor_warns_of_a_configuration_with_a_password(
    conveyor: Command, public_folder: Path
) -> None:
    (public_folder / "conveyor.toml").write_text('url = "http://ann:pw@127.0.0.1:1"\n')
    (public_folder / "conveyor.toml").chmod(0o644)
    from conveyor.cli.shared.exposure import find_exposures
    from conveyor.settings import load_settings
    from conveyor.store.memory.store import MemoryStore

    [found] = find_exposures(load_settings(), MemoryStore(), "memory:")
    assert str(public_folder / "conveyor.toml") in found.text


def test_doctor_warns_of_tokens_without_an_end(conveyor: Command, belt: Conveyor) -> None:
    now = belt.store.now()
    for name, expires_at in (("lasting", None), ("ending", now + 60)):
        _, token = issue_token(name, ["read"], [], now=now, expires_at=expires_at)
        belt.store.add_token(token).result()
    _, revoked = issue_token("revoked", ["read"], [], now=now)
    belt.store.add_token(revoked).result()
    belt.store.revoke_token(revoked.id).result()
    assert warnings(conveyor) == {
        "tokens": "without an end: lasting; replace them with `conveyor token create --expires`"
    }
    ran = conveyor("doctor")
    assert ran.code == 0
    assert "\nwarning\ttokens\t" in ran.out


def test_doctor_warns_of_servers_that_others_reach_without_tls(
    conveyor: Command, belt: Conveyor
) -> None:
    from conveyor.server.serve import Bind, Server
    from conveyor.server.server_config import ServerConfig

    for host, is_exposed in (("127.0.0.1", False), ("0.0.0.0", True)):
        serving = Server(belt.store, Bind(host=host), tokens=True, config=ServerConfig())
        belt.store.beat(serving.info).result()
        assert ("without TLS" in warnings(conveyor).get("server", "")) is is_exposed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_doctor_warns_of_a_lock_that_any_user_can_take(
    conveyor: Command, public_folder: Path
) -> None:
    Conveyor("jobs.db").store.close()
    (public_folder / "jobs.db").chmod(0o600)
    lock = public_folder / "jobs.db.lock"
    lock.chmod(0o644)
    os.chown(lock, 65534, -1)
    assert f"any user of this machine can lock {lock.name}" in warnings(conveyor)["lock"]
    os.chown(lock, 0, -1)
    assert warnings(conveyor) == {}
