"""Without any one check of the authorization, cells of the matrix come out wrong.

Each check is dropped from the source of the module, and the rows that it protects are observed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_authorization_matrix import CALLS, CELLS, Cell, expected, observe

from conveyor.server import authorization
from conveyor.server.application import Application
from conveyor.server.authorization import Authorizer
from conveyor.server.dashboard.pages import load_pages
from conveyor.store.http.api import PREFIX
from conveyor.store.memory.store import MemoryStore

SOURCE = Path(authorization.__file__).read_text()
OF_LEASES = "settle extend write_output set_progress set_stopping put_stack attach exchange_of"

LISTS = """case (
                list_queries.CountQuery()
                | list_queries.FailuresQuery()
                | list_queries.FailureQuery()
            ):
                """
OF_JOB = """
get history output ahead offered cancel files attach attempts why job_args copy_job search_output
"""
# What is dropped: the text of a check, what replaces it, and the rows that it protects.
CHECKS = {
    "the queues of a claim": (
        "return [want.queue for want in body.wants] or [None]",
        "return [None]",
        "claim exchange",
    ),
    "the queue of a list of jobs": (
        LISTS + "return [body.queue]",
        LISTS + "return []",
        "find find_in_queue job_counts counts_in_queue failures failures_of failure failure_of",
    ),
    "the queue of a filter": (
        "return [body.filter.queue]",
        "return []",
        "match match_in_queue act",
    ),
    "the queue of suggestions": (
        'if body.kind != "queue" or body.queue is not None:\n                return [body.queue]',
        'if body.kind != "queue" or body.queue is not None:\n                return []',
        "suggest_of suggest_tasks",
    ),
    "the queue of a copy": (
        "return [body.queue] if isinstance(body, CopyBody)",
        "return [] if isinstance(body, CopyBody)",
        "copy_elsewhere",
    ),
    "the rights of an action": (
        "            _check_act(principal, body)\n",
        "            pass\n",
        "act_on_all act_retrying act_deleting",
    ),
    "that an action names a queue": (
        "if principal.queues and body.filter.queue is None:",
        "if False:",
        "act_on_all",
    ),
    "the queue of a load": (
        "body.queue is not None\n            ):\n                return [body.queue]",
        "body.queue is not None\n            ):\n                return []",
        "scale load_of_queue queue_history_of",
    ),
    "the queue of new jobs": ('return [path["queue"], *sorted(called)]', "return []", "insert"),
    "the queue in a path": ('return [path["queue"]]', "return []", "queue_info"),
    "the queue of a job": (
        "raise no_job(job_id)\n        _check_queue",
        "pass\n        _check_queue",
        OF_JOB,
    ),
    "that of a job, in all": (
        'await self._check_job(call, principal, path["job_id"])',
        "pass",
        OF_JOB,
    ),
    "the queue of an offer": (
        'if self._offers.queue_of(path["offer"]) not in principal.queues:',
        "if False:",
        "accepted withdraw",
    ),
    "lists of all queues": (
        "case _ if is_limited and call.name not in LISTS_OF_ALL:",
        "case _ if is_limited:",
        "schedules schedule_outlook recent_jobs leader scaler marks overview queue_history",
    ),
    "queues": (
        "_check_queue(call, principal, queue)\n        _check_workers",
        "pass\n        _check_workers",
        "insert claim exchange find find_in_queue schedules leader queue_info scale",
    ),
    "the worker in a path": (
        'workers.append(path["worker"])',
        "pass",
        "claim exchange_by decline extend_worker order leave",
    ),
    "workers": ("_check_workers(call, principal, path, body)\n", "pass\n",
                "claim exchange_by decline extend_worker beat order leave rescue"),
    "dead workers": ("workers += body.dead", "pass", "rescue"),
    "leases": ("await self.lease_owners.check(principal, leases)", "pass", OF_LEASES),
    "leases of reports": ("return [Lease(report.id, report.lease) for report in body.reports]",
                          "return []", "settle exchange_of"),
    "leases to extend": ("return body.leases", "return []", "extend"),
    "leases of output": ("return [Lease(job_id, lease) for job_id, lease in unique]", "return []",
                         "write_output"),
    "leases of artifacts": ("return [Lease(job_id, body.lease)]", "return []", "attach"),
    "lease of a stack": ("return [body.lease]", "return []", "put_stack"),
    "leases of progress": ("return [lease for lease, _ in body.reports]", "return []",
                           "set_progress set_stopping"),
}  # fmt: skip


def without(check: str) -> type[Authorizer]:
    """Return the authorizer without a check."""
    old, new, _ = CHECKS[check]
    assert SOURCE.count(old) == 1, f"the source has no such check any more: {old}"
    module = ModuleType(authorization.__name__)
    module.__spec__, module.__package__ = authorization.__spec__, authorization.__package__
    exec(compile(SOURCE.replace(old, new), "mutant", "exec"), vars(module))
    made: type[Authorizer] = module.Authorizer
    return made


def wrong_rows(check: str, cells: list[Cell]) -> set[str]:
    planted = without(check)

    async def observe_each() -> set[str]:
        return {
            cell.row for cell in cells if await observe(cell, authorizer=planted) != expected(cell)
        }

    return asyncio.run(observe_each())


@pytest.mark.parametrize("check", CHECKS)
def test_a_dropped_check_shows_in_every_row_that_it_protects(check: str) -> None:
    rows = set(CHECKS[check][2].split())
    needed = [cell for cell in CELLS if cell.row in rows and cell.scope not in (None, "admin")]
    assert wrong_rows(check, needed) == rows


def test_every_route_is_in_the_matrix_or_open_to_all() -> None:
    app = Application(MemoryStore(), tokens=True)
    found: set[tuple[str, str]] = set()
    nodes: list[tuple[tuple[str, ...], Any]] = [((), app._routes._root)]
    for parts, node in nodes:
        found |= {(method, "/".join(parts)) for method in node.endpoints}
        nodes += [((*parts, "*" if part is None else part), each)
                  for part, each in node.children.items()]  # fmt: skip
    listed = {(call.method, shape(PREFIX + call.path)) for call in CALLS.values()}
    everybody = {(method, f"{PREFIX}/{name}") for method in ("GET", "HEAD")
                 for name in ("health", "openapi.json")}  # fmt: skip
    # Also at the address at which Prometheus looks by default.
    everybody.add(("GET", "/metrics"))
    pages = {"/", *(f"/static/*/{path}" for path in load_pages().files)}
    everybody |= {(method, path) for method in ("GET", "HEAD") for path in pages}
    dashboard = {("GET", "me"), ("GET", "events"), ("POST", "session"), ("DELETE", "session")}
    assert found == listed | everybody | {
        (method, f"{PREFIX}/{name}") for method, name in dashboard
    }


def shape(path: str) -> str:
    return "/".join("*" if part.startswith("{") else part for part in path.split("/"))
