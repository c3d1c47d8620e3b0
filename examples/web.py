"""A web server with a worker inside: Starlette's lifespan drains the worker at shutdown.

    uvicorn web:app                # in this directory; needs starlette and uvicorn

POST /reports?name=ann returns 202 with the job's id, or 503 if the queue is full. GET /reports/ID
returns the job's state; DELETE /reports/ID cancels it. On SIGTERM uvicorn stops serving and leaves
the lifespan: the worker stops claiming jobs, gives running jobs ten seconds to finish, and returns
the others to the file for the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from conveyor import Conveyor, NotFoundError, QueueFullError

belt = Conveyor()  # CONVEYOR_URL, or ./jobs.db
reports = belt.queue("reports", capacity=100, when_full="refuse")


@reports.task(name="report")
async def report(name: str, seconds: float = 0.5) -> str:
    """Stand in for real work."""
    await asyncio.sleep(seconds)
    return f"report for {name}"


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Run a worker as long as the server runs."""
    async with belt.worker(slots=4, drain=10.0):
        yield
    belt.close()


async def create_report(request: Request) -> JSONResponse:
    """Enqueue a report."""
    query = request.query_params
    try:
        job = await report.aenqueue(query["name"], float(query.get("seconds", "0.5")))
    except QueueFullError as full:
        return JSONResponse({"error": str(full)}, status_code=503, headers={"Retry-After": "1"})
    return JSONResponse({"id": job.id}, status_code=202)


async def get_or_cancel_report(request: Request) -> JSONResponse:
    """Return the state of a report, or cancel it."""
    try:
        job = await belt.ajob(request.path_params["id"])
        if request.method == "DELETE":
            await job.acancel(wait=5)
        record = (await job.arefresh()).record
    except NotFoundError:
        return JSONResponse({"error": "report not found"}, status_code=404)
    return JSONResponse({"state": record.state, "error": record.error})


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/reports", create_report, methods=["POST"]),
        Route("/reports/{id}", get_or_cancel_report, methods=["GET", "DELETE"]),
    ],
)
