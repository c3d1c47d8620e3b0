"""What an agent does when its token is revoked, or replaced in its file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from deployment import Deployment, wait_for
from remote_jobs import command, run_until_file, wait_for_output

from conveyor import AccessError, State
from conveyor.core.access import token_id
from conveyor.core.job import COMMANDS
from conveyor.core.lifecycle import Interrupted, Succeeded
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Claimant, Report, Want
from conveyor.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.alone


def revoke(deployment: Deployment, text: str) -> None:
    store = SqliteStore(deployment.db)
    store.revoke_token(token_id(text) or "").result()
    store.close()


def is_refused(store: HttpStore) -> bool:
    """Whether the server knows that a token was revoked: a hint of that takes a moment."""
    try:
        store.extend([], lease_for=5.0).result()
    except AccessError:
        return True
    return False


def claimant(token: str) -> Claimant:
    return Claimant(f"agent@{token_id(token)}", labels=frozenset({COMMANDS}))


@pytest.mark.parametrize("busy", [False, True])
def test_an_agent_whose_token_is_revoked_exits_with_one_line(
    deployment: Deployment, busy: bool
) -> None:
    deployment.server("--lease", "4")
    token = deployment.token("agent")
    agent = deployment.agent("-c", "1", token=token)
    job = command(deployment, "sh", "-c", "echo begun; exec sleep 60") if busy else None
    if job is not None:
        wait_for_output(job, "begun")
    revoke(deployment, token)
    assert agent.popen.wait(60) == 2
    said = agent.log.read_text()
    assert said.splitlines()[-1].startswith("conveyor: the server refuses this agent: ")
    assert "Traceback" not in said
    assert "claim.failed" not in said
    if job is not None:
        record = job.refresh().record
        assert (record.state, record.attempt, record.crashes) == (State.AVAILABLE, 0, 0)


@pytest.mark.parametrize("scopes", [["agent"], ["agent", "admin"]])
def test_a_former_token_may_only_return_the_jobs_of_its_own_leases(
    deployment: Deployment, scopes: list[str]
) -> None:
    deployment.server_thread()
    former, other = deployment.token(*scopes), deployment.token("agent")
    jobs = [command(deployment, "true") for _ in range(2)]
    wants = [Want("default", 1)]
    mine, its = (HttpStore(deployment.url, token=token) for token in (former, other))
    with closing(mine), closing(its):
        [own] = mine.claim(wants, claimant(former), limit=1).result().jobs
        [foreign] = its.claim(wants, claimant(other), limit=1).result().jobs
        revoke(deployment, former)
        wait_for(lambda: is_refused(mine))
        for report in (
            Report(own.id, own.lease, Succeeded()),
            Report(foreign.id, foreign.lease, Interrupted()),
        ):
            with pytest.raises(AccessError):
                mine.settle([report]).result()
        with pytest.raises(AccessError, match="is revoked"):
            mine.claim(wants, claimant(former), limit=1).result()
        assert mine.settle([Report(own.id, own.lease, Interrupted())]).result().settled == (own.id,)
    assert {job.id for job in jobs} == {own.id, foreign.id}
    states = {job.id: job.refresh().state for job in jobs}
    assert states == {own.id: State.AVAILABLE, foreign.id: State.RUNNING}


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
    assert first.result(60) == {"exit_code": 0}
    revoke(deployment, old)
    assert command(deployment, "true").result(60) == {"exit_code": 0}
    assert (first.refresh().record.attempt, first.record.crashes) == (1, 0)
    assert agent.log.read_text().count(f"@{token_id(new)}: 1 slots") == 1
