"""A web server with its worker inside: the server's own shutdown drains it (Starlette's lifespan).

    uvicorn web:app                # in this folder; needs starlette and uvicorn

POST /reports?name=ann answers 202 with the job's id, or 503 when the queue is full; GET /reports/ID
says how it stands; DELETE /reports/ID cancels it. On SIGTERM uvicorn stops serving and then leaves
the lifespan: the worker takes no more jobs and lets the running ones finish for ten seconds; what
does not is handed back to the file, for the next start.
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

belt = Conveyor()  # where CONVEYOR_URL says, else ./jobs.db
reports = belt.queue("reports", capacity=100, when_full="refuse")


@reports.task(name="report")
async def report(name: str, seconds: float = 0.5) -> str:
    """Stand for real work."""
    await asyncio.sleep(seconds)
    return f"report for {name}"


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Run a worker as long as the server runs."""
    async with belt.worker(slots=4, drain=10.0):
        yield
    belt.close()


async def ask(request: Request) -> JSONResponse:
    """Enqueue a report."""
    query = request.query_params
    try:
        job = await report.aenqueue(query["name"], float(query.get("seconds", "0.5")))
    except QueueFullError as full:
        return JSONResponse({"error": str(full)}, status_code=503, headers={"Retry-After": "1"})
    return JSONResponse({"id": job.id}, status_code=202)


async def look(request: Request) -> JSONResponse:
    """Say how a report stands, or cancel it."""
    job = belt.job(request.path_params["id"])
    try:
        if request.method == "DELETE":
            await job.acancel(wait=5)
        record = (await job.arefresh()).record
    except NotFoundError:
        return JSONResponse({"error": "there is no such report"}, status_code=404)
    return JSONResponse({"state": record.state, "error": record.error})


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/reports", ask, methods=["POST"]),
        Route("/reports/{id}", look, methods=["GET", "DELETE"]),
    ],
)
