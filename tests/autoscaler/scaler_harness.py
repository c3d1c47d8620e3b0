"""Machines in memory, a store that can be made unreachable, and a scaler over both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import wraps
from typing import Any

import msgspec
from machines import policy, pool

from conveyor.autoscaler.agent_launch import new_machine_id, pool_of
from conveyor.autoscaler.elector import Elector
from conveyor.autoscaler.intervals import Intervals
from conveyor.autoscaler.policy import Policy
from conveyor.autoscaler.provider import Machine, PoolSpec
from conveyor.autoscaler.scaler import Scaler
from conveyor.autoscaler.status import ScalerNote, decode_note
from conveyor.core.ids import IdMaker
from conveyor.core.job import NewJob, Options, State
from conveyor.core.pending import failed
from conveyor.errors import ConveyorError, UnavailableError
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Filter, Want
from conveyor.system.process_identity import worker_info
from conveyor.testing import FakeClock

Test = Callable[..., Awaitable[None]]


def in_a_loop(test: Test) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


INTERVALS = Intervals(every=10, lease=60, beat=15)
NAME = "scaler"


class Yard:
    """A provider whose machines are rows. It does as it is told, unless `errors` say otherwise."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.machines: dict[str, Machine] = {}
        self.errors: dict[str, ConveyorError] = {}
        self.asked: list[str] = []
        # Made, and the answer lost; made, and not listed for now.
        self.unanswered = self.unlisted = False
        # How long an end takes, in looks: it is let go by hand.
        self.slow: asyncio.Event | None = None

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        self._fail("create")
        made = [
            Machine(
                id=new_machine_id(pool),
                pool=pool.name,
                created_at=self.clock.now(),
                state="starting",
            )
            for _ in range(count)
        ]
        self.machines |= {each.id: each for each in made}
        if self.unanswered:
            raise UnavailableError("no answer")
        return made

    async def destroy(self, ids: Collection[str]) -> None:
        self.asked += ids
        if self.slow is not None:
            await self.slow.wait()
        self._fail("destroy")
        for name in ids:
            self.machines.pop(name, None)

    async def list(self) -> Sequence[Machine]:
        self._fail("list")
        return [] if self.unlisted else list(self.machines.values())

    async def close(self) -> None: ...

    def become(self, machine: str, **what: Any) -> None:
        self.machines[machine] = msgspec.structs.replace(self.machines[machine], **what)

    def _fail(self, call: str) -> None:
        if call in self.errors:
            raise self.errors[call]


class Reach:
    """A store that is out of reach while `away`, or while one `call` is."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.away, self.call = store, False, ""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if (self.away or name == self.call) and callable(found):
            if name == "now":
                return self._refuse
            return lambda *_, **__: failed(UnavailableError("out of reach"))
        return found

    def _refuse(self) -> float:
        raise UnavailableError("out of reach")


class Site:
    """A store with its server, a yard, and the agents on its machines."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.clock = policy, FakeClock()
        self.store = MemoryStore(self.clock)
        self.reach = Reach(self.store)
        self.yard = Yard(self.clock)
        self.served = True
        self.ids = IdMaker()
        self.agents: dict[str, str] = {}

    def scaler(self, holder: str = "one", intervals: Intervals = INTERVALS, **what: Any) -> Scaler:
        store: Any = what.pop("store", self.reach)
        elector = Elector(store, NAME, holder, elapsed=self.clock.now)
        return Scaler(
            store=store,
            providers=what.pop("providers", {"process": self.yard}),
            policy=what.pop("policy", self.policy),
            elector=elector,
            intervals=intervals,
            elapsed=self.clock.now,
            **what,
        )

    async def look(self, scaler: Scaler, *, after: float = 0.0, times: int = 1) -> bool:
        """Let time pass, every agent send a heartbeat, and the scaler look; repeatedly."""
        acted = False
        for _ in range(times):
            self.clock.advance(after)
            self.beat()
            acted = await scaler.run_cycle()
            for _ in range(5):  # what was begun beside it goes on
                await asyncio.sleep(0)
        return acted

    def beat(self) -> None:
        if self.served:
            self.store.beat(worker_info("server-1", now=self.clock.now())).result()
            for machine, agent in self.agents.items():
                self._beat(agent, machine)

    def jobs(self, count: int, *requires: str, queue: str = "default") -> None:
        options = Options(requires=requires)
        new = [
            NewJob(id=self.ids.make(self.clock.now()), task="t", queue=queue, options=options)
            for _ in range(count)
        ]
        self.store.insert(new).result()

    def boot(self, *machines: str) -> list[str]:
        """Have the agents of machines come: of all that start, if none are named."""
        names = machines or [
            name
            for name, each in self.yard.machines.items()
            if each.state == "starting" and name not in self.agents
        ]
        for name in names:
            self.agents[name] = f"agent-{name}"
            self.yard.become(name, state="running")
            self._beat(self.agents[name], name)
        return list(names)

    def claim(self, machine: str, *labels: str) -> str:
        """Have the agent on a machine take a job; returns its id."""
        claimant = Claimant(self.agents[machine], 60.0, frozenset(labels))
        [job] = self.store.claim([Want("default", 1)], claimant, limit=1).result().jobs
        return job.id

    def goodbye(self, machine: str) -> None:
        self.store.leave(self.agents.pop(machine)).result()

    def fall_silent(self, machine: str) -> str:
        return self.agents.pop(machine)

    def states(self) -> list[str]:
        return sorted(each.state for each in self.yard.machines.values())

    @property
    def note(self) -> ScalerNote:
        leader = self.store.leader(NAME).result()
        assert leader is not None
        note = decode_note(leader.note)
        assert note is not None
        return note

    def did(self) -> list[str]:
        """What was done so far, by the note."""
        return [event.did for event in self.note.status.events]

    def audit(self) -> list[tuple[str, str]]:
        return [(each.what, each.detail) for each in self.store.actions(limit=100).result()][::-1]

    def _beat(self, agent: str, machine: str) -> None:
        kinds = {each.name: each.spec for each in self.policy.pools}
        pool = kinds[pool_of(machine)]
        held = Filter(states=frozenset({State.RUNNING}))
        jobs = self.store.find(held, limit=1000).result()
        running = sum(job.worker == agent for job in jobs)
        info = worker_info(
            agent,
            now=self.clock.now(),
            slots=pool.slots,
            queues=("default",),
            labels=(*pool.offers, f"machine={machine}"),
        )
        self.store.beat(msgspec.structs.replace(info, running=running)).result()


def site(**options: Any) -> Site:
    return Site(policy(pool(**{"max": 5, "idle_for": 30.0, "boot_deadline": 100.0, **options})))
