"""A provider of simulated machines: late, out of reach, and not always as good as its word."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs import is_held
from workers import Station

from conveyor.autoscaler.provider import Machine, PoolSpec, ProvisioningState
from conveyor.errors import UnavailableError

if TYPE_CHECKING:
    from fleet import FleetWorld, ScalerStation

BOOT = (1.0, 8.0)
DEADLINE = 25.0
LATE = (DEADLINE * 0.9, DEADLINE * 2)
SLOW_END = 30.0
# After its call was given up, something is done at the latest.
LATEST = 20.0


@dataclass(eq=False)
class Box:
    """One machine, and the agent on it once it has booted."""

    id: str
    pool: PoolSpec
    made_at: float
    state: ProvisioningState = "starting"
    station: Station | None = None


class Cloud:
    """What there is of machines. It judges what is done to them."""

    def __init__(self, fleet: FleetWorld) -> None:
        self._fleet = fleet
        self.boxes: dict[str, Box] = {}
        self._made = 0
        # How many came after their deadline.
        self.late = 0

    def machines(self) -> list[Machine]:
        """Return them as a provider lists them."""
        ahead = self._fleet.clock.ahead
        return [
            Machine(id=box.id, pool=box.pool.name, created_at=box.made_at + ahead, state=box.state)
            for box in self.boxes.values()
        ]

    def billed(self) -> list[Box]:
        return [box for box in self.boxes.values() if box.state != "gone"]

    def make(self, pool: PoolSpec) -> Box:
        fleet = self._fleet
        self._made += 1
        box = Box(f"conveyor-{pool.name}-{self._made:010x}", pool, fleet.loop.now)
        self.boxes[box.id] = box
        fleet.note("MACHINE", box.id)
        if pool.name == "plain" and not fleet.plain_wanted:
            fleet.broken("label", f"{box.id} was made, and no job could run there")
        counted = Counter(each.pool.name for each in self.billed() if each.state != "errored")
        if counted[pool.name] > fleet.most[pool.name]:
            fleet.broken("maximum", f"{counted[pool.name]} machines of {pool.name}")
        self._begin(box)
        return box

    def end(self, name: str, asked_at: float) -> None:
        """Take a machine away; whoever wanted that asked for it then."""
        box = self.boxes.pop(name, None)
        if box is None:
            return
        self._fleet.note("MACHINE ENDS", box.id)
        if box.station is not None and box.station.up:
            # An agent that came after that was not there for anybody to see.
            if box.station.began_at <= asked_at:
                self._judge_end(box.station)
            box.station.crash()

    def die(self, station: Station) -> None:
        """Have the machine of an agent fail: it is gone, or is there and does nothing."""
        for box in self.boxes.values():
            if box.station is station:
                box.state = self._fleet.rng.choice(("gone", "running", "errored"))
                self._fleet.note("MACHINE FAILS", box.id, box.state)

    def _begin(self, box: Box) -> None:
        rng, fleet = self._fleet.rng, self._fleet
        fate = rng.random() if fleet.badness else 1.0
        if fate < 0.05:
            return  # it never comes
        if fate < 0.1:
            fleet.later(rng.uniform(*BOOT), self._fail, box)
        else:
            fleet.later(rng.uniform(*(LATE if fate < 0.2 else BOOT)), self._boot, box)

    def _fail(self, box: Box) -> None:
        box.state = "errored"
        self._fleet.note("MACHINE FAILS", box.id, box.state)

    def _boot(self, box: Box) -> None:
        if self._fleet.over or box.id not in self.boxes:
            return
        box.state = "running"
        self.late += self._fleet.loop.now - box.made_at > DEADLINE
        box.station = self._fleet.lend(box)

    def _judge_end(self, station: Station) -> None:
        fleet = self._fleet
        for run in list(fleet.runs.live.values()):
            job = fleet.witness.job(run.job.id)
            held = job is not None and is_held(job, run.key)
            # A lease that has run out is nobody's, whether or not that was noticed yet.
            good = job is not None and (job.lease_until or 0.0) > fleet.clock.now()
            if run.station is station and held and good:
                fleet.broken("killed", f"{station.name} was taken away while it ran {run}")


class CloudApi:
    """The cloud as one scaler reaches it."""

    def __init__(self, fleet: FleetWorld, scaler: ScalerStation) -> None:
        self._fleet, self._scaler = fleet, scaler

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        self._check("made machines")
        made: list[str] = []

        def make() -> None:
            made.extend(self._fleet.cloud.make(pool).id for _ in range(count))

        await self._call(make)
        return [each for each in self._fleet.cloud.machines() if each.id in made]

    async def destroy(self, ids: Collection[str]) -> None:
        self._check("took machines away")
        rng = self._fleet.rng
        longer = rng.uniform(0, SLOW_END) if rng.random() < 4 * self._fleet.badness else 0.0
        now = self._fleet.loop.now
        await self._call(lambda: [self._fleet.cloud.end(each, now) for each in ids], longer)

    async def list(self) -> Sequence[Machine]:
        found: list[Machine] = []
        await self._call(lambda: found.extend(self._fleet.cloud.machines()))
        return found

    async def close(self) -> None: ...

    def _check(self, what: str) -> None:
        fleet = self._fleet
        leader = fleet.store.leader(fleet.name).result()
        if leader and leader.holder != self._scaler.name and leader.until > fleet.clock.now():
            fleet.broken("leader", f"{self._scaler.name} {what} while {leader.holder} led")

    async def _call(self, act: object, longer: float = 0.0) -> None:
        fleet, rng = self._fleet, self._fleet.rng
        lost, unheard = (rng.random() < 3 * fleet.badness for _ in range(2))
        assert callable(act)
        # What was sent is done, also when whoever sent it has died meanwhile; what was not answered
        # may be done late.
        late = rng.uniform(0.0, LATEST) if unheard and rng.random() < 0.5 else 0.0
        if not lost:
            fleet.later(rng.uniform(0.01, 1.0) + longer + late, act)
        await asyncio.sleep(2.0 + longer if lost or unheard else 1.01 + longer)
        if lost or unheard:
            fleet.note("CLOUD", "lost" if lost else "unheard")
            raise UnavailableError("the cloud gave no answer")
