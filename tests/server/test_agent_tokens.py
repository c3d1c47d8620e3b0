"""What an agent does when its token is revoked, or replaced in its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployment import Deployment, wait_for
from remote_jobs import command, run_until_file, wait_for_output

from conveyor import State
from conveyor.core.access import token_id
from conveyor.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.alone


def revoke(deployment: Deployment, text: str) -> None:
    store = SqliteStore(deployment.db)
    store.revoke_token(token_id(text) or "").result()
    store.close()


@pytest.mark.parametrize("busy", [False, True])
def test_an_agent_whose_token_is_revoked_exits_with_one_line(
    deployment: Deployment, busy: bool
) -> None:
    deployment.server("--lease", "4")
    token = deployment.token("agent")
    agent = deployment.agent("-c", "1", token=token)
    if busy:
        wait_for_output(command(deployment, "sh", "-c", "echo begun; exec sleep 60"), "begun")
    revoke(deployment, token)
    assert agent.popen.wait(20) == 2
    said = agent.log.read_text()
    assert said.splitlines()[-1].startswith("conveyor: the server refuses this agent: ")
    assert "Traceback" not in said
    assert said.count("claim.failed") <= 2


def test_an_agent_whose_token_is_replaced_in_its_file_finishes_and_goes_on_with_the_new_one(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.server_thread()
    old, new = deployment.token("agent"), deployment.token("agent")
    agent = deployment.agent("-c", "1", token=old)
    first = command(deployment, *run_until_file(tmp_path / "go"))
    wait_for(lambda: first.refresh().state is State.RUNNING)
    (deployment.folder / "token-0").write_text(new)
    agent.wait_for_output("draining")
    (tmp_path / "go").touch()
    assert first.result(20) == {"exit_code": 0}
    revoke(deployment, old)
    assert command(deployment, "true").result(20) == {"exit_code": 0}
    assert (first.refresh().record.attempt, first.record.crashes) == (1, 0)
    assert agent.log.read_text().count(f"@{token_id(new)}: 1 slots") == 1
