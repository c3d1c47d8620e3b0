"""The links of the OpenAPI document: which calls use what the response to a call names."""

from __future__ import annotations

from typing import Any

Link = dict[str, Any]


def _to(calls: str, parameter: str, value: str) -> dict[str, Link]:
    """Return links to some calls, which take a value as a parameter of their path."""
    return {
        f"{call}_by_{parameter}": {"operationId": call, "parameters": {parameter: value}}
        for call in calls.split()
    }


_JOB = "$response.body#/jobs/0"
_LEASE = {"id": f"{_JOB}/id", "lease": f"{_JOB}/lease"}
_REPORT = {**_LEASE, "outcome": {"type": "succeeded"}}
_CLAIMED = {
    "confirm": {"operationId": "extend", "requestBody": {"leases": [_LEASE]}},
    "report": {"operationId": "settle", "requestBody": {"reports": [_REPORT]}},
    **_to("get cancel", "job_id", f"{_JOB}/id"),
}
_OF_JOB = (
    "get history attempts why job_args output search_output ahead offered files copy_job cancel "
    "retry delete"
)
_OF_WORKER = "claim exchange decline extend_worker order dismiss leave"

# (call, status of its response) -> links by name
LINKS: dict[tuple[str, str], dict[str, Link]] = {
    ("insert", "200"): _to(_OF_JOB, "job_id", "$response.body#/accepted/ids/0"),
    ("insert", "202"): _to("accepted withdraw", "offer", "$response.body#/offered/offer"),
    ("claim", "200"): _CLAIMED,
    ("exchange", "200"): _CLAIMED,
    ("find", "200"): _to(_OF_JOB, "job_id", "$response.body#/0/id"),
    ("delete", "204"): _to("get", "job_id", "$request.path.job_id"),
    ("counts", "200"): _to(
        "queue_info set_paused set_capacity insert", "queue", "$response.body#/0/name"
    ),
    ("beat", "200"): _to(_OF_WORKER, "worker", "$request.path.worker"),
    ("put_schedule", "200"): _to(
        "schedule_outlook recent_jobs run_schedule pause_schedule remove_schedule tick",
        "name",
        "$request.path.name",
    ),
    ("lead", "200"): _to("leader", "name", "$request.path.name"),
    ("write_content", "200"): _to("content read_content", "digest", "$request.path.digest"),
    ("schedules", "200"): _to(
        "schedule_outlook recent_jobs run_schedule pause_schedule remove_schedule tick",
        "name",
        "$response.body#/0/name",
    ),
    ("workers", "200"): _to(_OF_WORKER, "worker", "$response.body#/0/id"),
    ("failures", "200"): _to("failure", "fingerprint", "$response.body#/groups/0/fingerprint"),
    ("tokens", "200"): _to("token", "token_id", "$response.body#/0/id"),
    ("add_token", "204"): _to("token", "token_id", "$request.path.token_id"),
}
