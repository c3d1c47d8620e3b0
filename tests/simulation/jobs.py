"""The code that simulated jobs run: coroutines as they are, and child processes by script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from loop import PROCESS
from runs import Run

from conveyor import Snooze, current_job
from conveyor.core.job import ErrorInfo, Options
from conveyor.core.lifecycle import Failed, Snoozed, Succeeded
from conveyor.core.task import Task, task
from conveyor.runners.job_control import JobControl, RunResult, Stopped, StopRequest

if TYPE_CHECKING:
    from workers import Station
    from world import World

DISPATCH = 0.01
LONGEST_GRACE = 1.0


class Script(msgspec.Struct, frozen=True):
    """What a job's code does: it works, may hang on when told to stop, and ends in a way.

    It fails on the first `fails` leases and snoozes on the next `snoozes`.
    """

    seconds: float = 0.1
    stubborn: float = 0.0
    fails: int = 0
    snoozes: int = 0

    def ending(self, lease: int) -> RunResult:
        if lease <= self.fails:
            return Failed(ErrorInfo("Failure", "as the script says"))
        if lease <= self.fails + self.snoozes:
            return Snoozed(0.5)
        return Succeeded()


class FailureError(Exception):
    """The script says so."""


def tasks(world: World) -> dict[str, Task]:
    """Return the tasks of a world: the same script, as a coroutine and as a process."""

    async def work(seconds: float, stubborn: float, fails: int, snoozes: int) -> None:
        await _work(world, Script(seconds, stubborn, fails, snoozes))

    def toil(seconds: float, stubborn: float, fails: int, snoozes: int) -> None:
        raise AssertionError("processes run by script")

    return {
        "work": task(work, name="work"),
        "toil": task(toil, name="toil", run="process", options=Options(grace=1.0)),
    }


async def _work(world: World, script: Script) -> None:
    loop, job = asyncio.get_running_loop(), current_job()
    process = PROCESS.get()
    assert process is not None
    record = job._link.job
    run = world.runs.begin(record, world.stations[process.name], process, script.stubborn)
    how = "dropped"
    try:
        job.write_output("stdout", b"at work\n")
        until = loop.time() + script.seconds
        while (left := until - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError as error:
                stop_by = loop.time() + script.stubborn
                if run.asked_at is None:
                    until = min(until, stop_by) if script.stubborn else until
                world.runs.asked(run, _why(str(error)))
                if world.over or not script.stubborn:
                    how = "stopped"
                    raise
        job.progress(1, 1)
        match script.ending(record.lease):
            case Failed():
                how = "raised"
                raise FailureError
            case Snoozed(delay):
                how = "snoozed"
                raise Snooze(delay)
            case _:
                how = "returned"
    finally:
        world.runs.ended(run, how)


def _why(reason: str) -> str:
    for mark, why in (("shutting down", "shutdown"), ("leaving", "shutdown"), ("lease", "lost")):
        if mark in reason:
            return why
    return reason


class ScriptedRunner:
    """A runner of child processes that exist on paper: SIGTERM, grace and SIGKILL included.

    A child goes on while its worker is stopped, and is killed with it.
    """

    def __init__(self, station: Station) -> None:
        self.station = station

    async def run(self, control: JobControl) -> RunResult:
        if control.stopping:
            return Stopped()
        child = Child(self.station, control)
        control.on_stop(child.stop)
        try:
            return await child.ending
        except BaseException:
            child.kill()
            raise
        finally:
            control.on_stop(None)

    async def probe(self) -> None:
        """This machine is well."""

    async def close(self) -> None:
        """Nothing is held."""


class Child:
    """One child process with one job."""

    def __init__(self, station: Station, control: JobControl) -> None:
        self.ending: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        self._station = station
        self._world = station.world
        self._control = control
        self._script = msgspec.json.decode(control.job.args, type=Script)
        self._run: Run | None = None
        self._asked = False
        self._over = False
        context = station.children.context
        self._world.loop.call_later(DISPATCH, self._begin, context=context)

    def stop(self, request: StopRequest) -> None:
        """Send SIGTERM, and SIGKILL when the grace is over."""
        if self._run is not None:
            self._world.runs.asked(self._run, _why(request.reason))
        if self._asked:
            return
        self._asked = True
        loop, context = self._world.loop, self._station.children.context
        loop.call_later(self._script.stubborn, self._end, Stopped(), context=context)
        loop.call_later(self._control.job.options.grace, self.kill)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(Stopped(("SIGKILL",)))

    def _begin(self) -> None:
        if self._over:
            return
        job, world = self._control.job, self._world
        grace = min(self._script.stubborn, job.options.grace)
        children = self._station.children
        self._run = world.runs.begin(job, self._station, children, grace)
        stop = self._control.stop_request
        if stop is not None:
            world.runs.asked(self._run, _why(stop.reason))
        ending = self._script.ending(job.lease)
        world.loop.call_later(self._script.seconds, self._end, ending)

    def _end(self, ending: RunResult) -> None:
        if self._over:
            return
        self._over = True
        if self._run is not None:
            how = {Succeeded: "returned", Failed: "raised", Snoozed: "snoozed"}
            self._world.runs.ended(self._run, how.get(type(ending), "stopped"))
        # The worker reads of it from a pipe: its own callbacks are held back if it is frozen.
        self._world.loop.call_soon(self._tell, ending, context=self._world.context)

    def _tell(self, ending: RunResult) -> None:
        if not self.ending.done():
            self.ending.set_result(ending)
