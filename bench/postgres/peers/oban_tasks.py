"""The tasks of Oban, which its worker imports on their own."""

from __future__ import annotations

from typing import Any

import jobs
from oban import worker


@worker(queue="default")
class Mark:
    async def process(self, _job: Any) -> None:
        jobs.mark()


@worker(queue="default")
class Stamp:
    async def process(self, job: Any) -> None:
        jobs.stamp(job.args["enqueued_at"])
