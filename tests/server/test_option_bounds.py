"""Options that are too large are refused before they cost anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from raw_http import RawClient
from served import Serving

from conveyor.server.server_config import ServerConfig
from conveyor.store.memory.store import MemoryStore


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"meta": {"a": "y" * 20_000}}, "meta: 20,008 bytes of JSON are above the limit of 16,384"),
        ({"requires": ["a"] * 50_000}, "requires: 50,000 labels are above the limit of 100"),
        ({"retry_on": ["E"] * 200_000}, "retry_on: 200,000 names are above the limit of 100"),
        ({"artifacts": ["a"] * 200_000}, "a job can have at most 1,000 patterns"),
        # Above this size nothing is decoded, so the size of `meta` is not even looked at.
        ({"meta": {"a": "y" * (1 << 20)}}, "job 0: options: 1,048,593 bytes of JSON are above"),
    ],
)
def test_options_above_their_bound_are_refused_with_field_size_and_limit(
    options: dict[str, Any], said: str
) -> None:
    serving = Serving(MemoryStore())
    ask = RawClient(serving.url)
    body = json.dumps({"jobs": [{"task": "t", "options": options}]}, separators=(",", ":"))
    answer = ask("POST", "/queues/q/jobs", body.encode())
    assert answer.is_problem(400, "usage")
    assert said in answer.data["detail"]
    tasks = json.dumps({"tasks": [{"name": "t", "options": options}]}, separators=(",", ":"))
    answer = ask("PUT", "/tasks", tasks.encode())
    assert answer.is_problem(400, "usage")
    assert said.replace("job 0", "task 0") in answer.data["detail"]
    serving.close()


KEYS = "{" + ",".join(f'"k{number}":0' for number in range(10_000)) + "}"


def test_of_many_large_jobs_the_first_is_refused_before_all_are_decoded() -> None:
    """The message has no task: that would be the check of a job that was decoded."""
    serving = Serving(MemoryStore(), config=ServerConfig(args_limit=90_000))
    ask = RawClient(serving.url)
    names = ",".join(['"a"'] * 20_000)
    for job, said in (
        (f'{{"options":{{"meta":{KEYS}}}}}', "options: meta: 98,891 bytes of JSON are above"),
        (f'{{"options":{{"requires":[{names}]}}}}', "options: requires: 20,000 labels are above"),
        (f'{{"options":{{"artifacts":[{names}]}}}}', "options: a job can have at most 1,000 pat"),
        (f'{{"args":{KEYS}}}', "the arguments are 98,891 bytes of JSON, the limit is 90,000"),
    ):
        one = job.replace("{", '{"task":"t",', 1)
        body = '{"jobs":[' + ",".join([one] * 20) + "]}"
        answer = ask("POST", "/queues/q/jobs", body.encode())
        assert answer.is_problem(400, "usage" if "args" not in job else "encoding")
        assert answer.data["detail"].startswith(f"job 0: {said}")
    error = f'{{"type":"E","message":"","bases":[{names}]}}'
    report = f'{{"id":"j","lease":1,"outcome":{{"type":"failed","error":{error}}}}}'
    body = '{"reports":[' + ",".join([report] * 20) + "]}"
    answer = ask("POST", "/reports", body.encode())
    assert answer.is_problem(400, "usage")
    assert answer.data["detail"].startswith("report 0: bases: 20,000 names are above")
    serving.close()
