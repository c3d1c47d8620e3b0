"""Keeping leases: what is heard between two renewals, and what becomes of those that lapse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from conveyor.core.job import JobRecord, State
from conveyor.core.pending import Pending, failed, ready
from conveyor.errors import UnavailableError
from conveyor.store.messages import Lease, Renewal
from conveyor.worker.lease_renewer import Leases
from shop import soon

LEASE = 0.2
WAIT = 20.0


def job(name: str, lease: int = 1) -> JobRecord:
    return JobRecord(
        seq=1, id=name, task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
        run_at=0.0, enqueued_at=0.0, lease=lease,
    )  # fmt: skip


class Scripted:
    """A store that renews as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.cancelled: set[str] = set()
        self.answers = True
        self.reachable = True

    def extend(self, leases: Sequence[Lease], *, lease_for: float) -> Pending[list[Renewal]]:
        self.asked.append([lease.id for lease in leases])
        if not self.reachable:
            return failed(UnavailableError("out of reach"))
        if not self.answers:
            return Pending()
        return ready(
            [
                Renewal(each.id, "cancel", "no more" if each.id in self.cancelled else "")
                if each.id in self.cancelled
                else Renewal(each.id, "continue")
                for each in leases
            ]
        )


class Kept:
    """Leases over a scripted store, with a clock that is set by hand."""

    def __init__(self, *, fences: bool = False, lease_for: float = 60.0) -> None:
        self.now = 0.0
        self.store = Scripted()
        self.held: list[JobRecord] = []
        self.obeyed: list[Renewal] = []
        self.fenced: list[Lease] = []
        self.changed = asyncio.Event()
        self.leases = Leases(
            store=self.store,  # type: ignore[arg-type]
            lease_for=lease_for,
            held=lambda: self.held,
            obey=lambda _lease, renewal: self.say(self.obeyed, renewal),
            fence_off=(lambda lease: self.say(self.fenced, lease)) if fences else None,
            elapsed=lambda: self.now,
        )

    def say(self, where: list[Any], what: object) -> None:
        where.append(what)
        self.changed.set()


def keeping(test: Callable[[Kept], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        kept = Kept(**options)
        keeper = asyncio.create_task(kept.leases.keep())
        await asyncio.sleep(0)
        async with asyncio.timeout(WAIT):
            await test(kept)
        keeper.cancel()

    asyncio.run(main())


def test_a_cancel_of_a_held_job_is_looked_up_at_once() -> None:
    async def test(kept: Kept) -> None:
        kept.held = [job("a"), job("b")]
        kept.store.cancelled = {"a"}
        kept.leases.hear(["a", "somebody else's"])
        await kept.changed.wait()
        assert kept.store.asked == [["a"]]
        assert kept.obeyed == [Renewal("a", "cancel", "no more")]

    keeping(test)


def test_a_cancel_is_looked_up_again_soon_where_no_answer_came() -> None:
    async def test(kept: Kept) -> None:
        kept.held = [job("a"), job("b")]
        kept.store.cancelled = {"a"}
        kept.store.reachable = False
        kept.leases.hear(["a"])
        await soon(lambda: kept.store.asked)
        kept.store.reachable = True
        await kept.changed.wait()  # no time passes here, so no renewal is due
        assert set(map(tuple, kept.store.asked)) == {("a",)}
        assert kept.obeyed == [Renewal("a", "cancel", "no more")]

    keeping(test)


def test_a_cancel_that_overtakes_the_answer_to_a_claim_is_not_lost() -> None:
    async def test(kept: Kept) -> None:
        asked_at = kept.leases.expect()
        kept.store.cancelled = {"a"}
        kept.leases.hear(["a"])  # the claim is committed, and so is the cancel; no answer yet
        assert kept.store.asked == []
        kept.held = [job("a"), job("b")]
        kept.leases.took(kept.held, asked_at)
        await kept.changed.wait()
        assert kept.store.asked == [["a"]]

    keeping(test)


def test_a_cancel_heard_during_one_claim_does_not_trouble_the_next() -> None:
    async def test(kept: Kept) -> None:
        kept.leases.took([], kept.leases.expect())
        kept.leases.hear(["a"])
        kept.held = [job("a")]
        kept.leases.took(kept.held, kept.leases.expect())
        kept.store.cancelled = {"b"}
        kept.held.append(job("b"))
        kept.leases.hear(["b"])
        await kept.changed.wait()
        assert kept.store.asked == [["b"]]

    keeping(test)


@pytest.mark.parametrize("how", ["answers", "reachable"])
def test_a_lease_that_cannot_be_renewed_in_time_is_fenced_off(how: str) -> None:
    async def test(kept: Kept) -> None:
        setattr(kept.store, how, False)
        kept.held = [job("a")]
        kept.leases.took(kept.held, kept.leases.expect())
        kept.now = LEASE * 0.79
        kept.leases.hear([])
        await soon(lambda: kept.store.asked)
        assert kept.fenced == []
        kept.now = LEASE * 0.8
        await kept.changed.wait()
        assert kept.fenced == [Lease("a", 1)]

    keeping(test, fences=True, lease_for=LEASE)


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    async def test(kept: Kept) -> None:
        kept.held = [job("a")]
        kept.leases.took(kept.held, kept.leases.expect())
        kept.now = LEASE * 0.7
        await soon(lambda: len(kept.store.asked) == 1)
        kept.store.reachable = False
        kept.now = LEASE * 1.4
        await soon(lambda: len(kept.store.asked) == 2)
        assert kept.fenced == []
        kept.now = LEASE * 1.5
        await kept.changed.wait()
        assert kept.fenced == [Lease("a", 1)]

    keeping(test, fences=True, lease_for=LEASE)


def test_a_store_in_this_machine_s_own_file_fences_nobody() -> None:
    async def test(kept: Kept) -> None:
        kept.store.reachable = False
        kept.held = [job("a")]
        kept.leases.took(kept.held, kept.leases.expect())
        kept.now = LEASE * 10
        for number in (1, 2, 3):
            await soon(lambda number=number: len(kept.store.asked) == number)  # type: ignore[misc]
            kept.now += LEASE
        assert kept.fenced == []

    keeping(test, lease_for=LEASE)


def test_after_a_long_pause_nothing_is_begun_that_was_claimed_before_it() -> None:
    async def test(kept: Kept) -> None:
        kept.held = [job("a")]
        claim = kept.leases.took(kept.held, kept.leases.expect())
        assert not kept.leases.is_late(claim)
        kept.now = LEASE
        assert kept.leases.is_late(claim)
        assert not kept.leases.is_late(kept.leases.took([], kept.leases.expect()))
        await soon(lambda: kept.store.asked == [["a"]])
        await soon(lambda: not kept.leases.is_late(claim))

    keeping(test, lease_for=LEASE)


def test_an_answer_that_was_long_on_its_way_is_late_whatever_was_renewed_meanwhile() -> None:
    async def test(kept: Kept) -> None:
        asked_at = kept.leases.expect()
        kept.now = LEASE / 2
        await kept.leases._renew_all()
        kept.now = LEASE
        await kept.leases._renew_all()
        kept.now = LEASE + 0.001
        assert kept.leases.is_late(kept.leases.took([job("a")], asked_at))

    keeping(test, lease_for=LEASE)


def test_a_renewal_is_plain_data() -> None:
    assert msgspec.to_builtins(Renewal("a", "cancel", forced=True))["forced"] is True


def test_a_cancel_of_a_job_that_has_just_ended_fences_off_the_others_all_the_same() -> None:
    async def test(kept: Kept) -> None:
        kept.store.reachable = False
        ended, goes_on = job("ended"), job("goes on")
        kept.held = [ended, goes_on]
        kept.leases.took(kept.held, kept.leases.expect())
        kept.leases.hear(["ended"])
        kept.held = [goes_on]
        await asyncio.sleep(0)
        kept.now = LEASE * 0.8
        await kept.changed.wait()
        assert Lease("goes on", 1) in kept.fenced

    keeping(test, fences=True, lease_for=LEASE)
