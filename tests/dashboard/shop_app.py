"""The application that the dashboard shows in these tests: `conveyor run shop_app:belt`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from conveyor import Conveyor, current_job

belt = Conveyor()
HOSTILE = "<script>alert(1)</script> \u202egnp.exe \x1b[31mred\x1b[0m"


@belt.task(name="send_mail", queue="mail", retries=1, backoff=0.05)
async def send_mail(to: str, fails: bool = False, api_token: str = "") -> str:
    print("sending to", to)
    if fails:
        raise ConnectionError(f"refused by 10.0.0.{len(to)}:25")
    return f"sent to {to}"


@belt.task(name="transcode", queue="video", run="thread")
def transcode(go: str) -> None:
    """Write lines and report progress until the file is there or the job is cancelled."""
    print("first line")
    begin(go)
    for number in range(10_000):
        if Path(go).exists() or current_job().cancelled:
            return
        print("frame", number, flush=True)
        current_job().progress(number, 10_000, f"frame {number}")
        render()


def begin(go: str) -> None:
    """Tell the test that the code of a job runs."""
    Path(f"{go}-{current_job().id}").touch()


def render() -> None:
    time.sleep(0.05)


@belt.task(name="count", queue="idle")
async def count(n: int, x: float, s: str, many: list[float]) -> None:
    """Take numbers that JavaScript does not have."""


@belt.task(name="stubborn", queue="video")
async def stubborn(go: str) -> None:
    """Ignore a request to stop until the file is there."""
    begin(go)
    while not os.path.exists(go):  # noqa: ASYNC240 - it takes no time
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            print("not yet")


@belt.task(name="<img src=x onerror=alert(1)>", queue="<b>hostile</b>", output_limit=8_000_000)
async def shout() -> None:
    print(HOSTILE)
    print("x" * 5_000_000)
    print("the end")
    raise ValueError(HOSTILE)


@belt.schedule("0 3 * * 1-5", name="nightly", timezone="Europe/Berlin", args=("nobody",))
@belt.task(name="report", queue="mail")
async def report(to: str) -> None:
    print("report for", to)
