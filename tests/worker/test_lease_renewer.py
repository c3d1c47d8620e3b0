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
from conveyor.worker.cancellation import LeaseVerdicts
from conveyor.worker.held_jobs import HeldJob, HeldJobs
from conveyor.worker.lease_renewer import LeaseRenewer
from shop import soon

LEASE = 0.2
WAIT = 60.0


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
        self.omits = 0

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
                for each in leases[self.omits :]
            ]
        )


class Verdicts(LeaseVerdicts):
    """Notes what it is to carry out."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def apply(self, lease: Lease, renewal: Renewal) -> None:
        self.kept.applied.append(renewal)
        self.kept.changed.set()

    def fence(self, row: HeldJob) -> None:
        row.fenced = True
        self.kept.fenced.append(row.lease)
        self.kept.changed.set()


class Kept:
    """A renewer over a scripted store, with a clock that is set by hand."""

    def __init__(self, *, fences: bool = False, lease_for: float = 60.0) -> None:
        self.now = 0.0
        self.store = Scripted()
        self.held = HeldJobs()
        self.applied: list[Renewal] = []
        self.fenced: list[Lease] = []
        self.changed = asyncio.Event()
        self.leases = LeaseRenewer(
            store=self.store,  # type: ignore[arg-type]
            held=self.held,
            verdicts=Verdicts(self),
            lease_for=lease_for,
            fences=fences,
            elapsed=lambda: self.now,
        )

    def hold(self, *names: str) -> list[HeldJob]:
        """Hold jobs of a claim that is asked for and answered now."""
        return self.answered(self.leases.claim_sent(), *names)

    def answered(self, asked_at: float, *names: str) -> list[HeldJob]:
        jobs = [job(name) for name in names]
        self.leases.claim_answered(jobs)
        return self.held.add(jobs, asked_at=asked_at, confirmed=True)


def keeping(test: Callable[[Kept], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        kept = Kept(**options)
        renewing = asyncio.create_task(kept.leases.run())
        await asyncio.sleep(0)
        async with asyncio.timeout(WAIT):
            await test(kept)
        renewing.cancel()

    asyncio.run(main())


def test_a_cancel_of_a_held_job_is_looked_up_at_once() -> None:
    async def test(kept: Kept) -> None:
        kept.hold("a", "b")
        kept.store.cancelled = {"a"}
        kept.leases.check_for_cancels(["a", "somebody else's"])
        await kept.changed.wait()
        assert kept.store.asked == [["a"]]
        assert kept.applied == [Renewal("a", "cancel", "no more")]

    keeping(test)


def test_a_cancel_is_looked_up_again_soon_where_no_answer_came() -> None:
    async def test(kept: Kept) -> None:
        kept.hold("a", "b")
        kept.store.cancelled = {"a"}
        kept.store.reachable = False
        kept.leases.check_for_cancels(["a"])
        await soon(lambda: kept.store.asked)
        kept.store.reachable = True
        await kept.changed.wait()  # no time passes here, so no renewal is due
        assert set(map(tuple, kept.store.asked)) == {("a",)}
        assert kept.applied == [Renewal("a", "cancel", "no more")]

    keeping(test)


def test_a_cancel_is_looked_up_again_where_the_answer_is_about_fewer_jobs() -> None:
    async def test(kept: Kept) -> None:
        kept.hold("a", "b")
        kept.store.cancelled = {"a"}
        kept.store.omits = 1
        kept.leases.check_for_cancels(["a"])
        await soon(lambda: kept.store.asked)
        kept.store.omits = 0
        await kept.changed.wait()
        assert kept.applied == [Renewal("a", "cancel", "no more")]

    keeping(test)


def test_a_cancel_that_overtakes_the_answer_to_a_claim_is_not_lost() -> None:
    async def test(kept: Kept) -> None:
        asked_at = kept.leases.claim_sent()
        kept.store.cancelled = {"a"}
        # The claim is committed, and so is the cancel; no answer yet.
        kept.leases.check_for_cancels(["a"])
        assert kept.store.asked == []
        kept.answered(asked_at, "a", "b")
        await kept.changed.wait()
        assert kept.store.asked == [["a"]]

    keeping(test)


def test_a_cancel_received_during_one_claim_does_not_affect_the_next() -> None:
    async def test(kept: Kept) -> None:
        kept.hold()
        kept.leases.check_for_cancels(["a"])
        kept.hold("a")
        kept.store.cancelled = {"b"}
        kept.held.add([job("b")], asked_at=0.0, confirmed=True)
        kept.leases.check_for_cancels(["b"])
        await kept.changed.wait()
        assert kept.store.asked == [["b"]]

    keeping(test)


@pytest.mark.parametrize("how", ["answers", "reachable"])
def test_a_lease_that_cannot_be_renewed_in_time_is_fenced_off(how: str) -> None:
    async def test(kept: Kept) -> None:
        setattr(kept.store, how, False)
        kept.hold("a")
        kept.now = LEASE * 0.79
        kept.leases.check_for_cancels([])
        await soon(lambda: kept.store.asked)
        assert kept.fenced == []
        kept.now = LEASE * 0.8
        await kept.changed.wait()
        assert kept.fenced == [Lease("a", 1)]

    keeping(test, fences=True, lease_for=LEASE)


def test_a_renewed_lease_counts_from_when_the_renewal_was_sent() -> None:
    async def test(kept: Kept) -> None:
        kept.hold("a")
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


def test_a_store_in_a_local_file_fences_off_no_job() -> None:
    async def test(kept: Kept) -> None:
        kept.store.reachable = False
        kept.hold("a")
        kept.now = LEASE * 10
        for number in (1, 2, 3):
            await soon(lambda number=number: len(kept.store.asked) == number)  # type: ignore[misc]
            kept.now += LEASE
        assert kept.fenced == []

    keeping(test, lease_for=LEASE)


def test_after_a_long_pause_no_job_starts_that_was_claimed_before_it() -> None:
    async def test(kept: Kept) -> None:
        [row] = kept.hold("a")
        assert not kept.leases.is_late(row)
        kept.now = LEASE
        assert kept.leases.is_late(row)
        [newer] = kept.hold("b")
        assert not kept.leases.is_late(newer)
        kept.held.release(newer)
        await soon(lambda: kept.store.asked == [["a"]])
        await soon(lambda: not kept.leases.is_late(row))

    keeping(test, lease_for=LEASE)


def test_a_slow_response_to_a_claim_is_late_even_if_other_leases_were_renewed() -> None:
    async def test(kept: Kept) -> None:
        asked_at = kept.leases.claim_sent()
        kept.now = LEASE / 2
        await kept.leases._renew_all()
        kept.now = LEASE
        await kept.leases._renew_all()
        kept.now = LEASE + 0.001
        [row] = kept.answered(asked_at, "a")
        assert kept.leases.is_late(row)

    keeping(test, lease_for=LEASE)


def test_a_renewal_is_plain_data() -> None:
    assert msgspec.to_builtins(Renewal("a", "cancel", forced=True))["forced"] is True


def test_a_cancel_of_a_job_that_has_just_ended_does_not_prevent_fencing_off_the_others() -> None:
    async def test(kept: Kept) -> None:
        kept.store.reachable = False
        ended, _ = kept.hold("ended", "goes on")
        kept.leases.check_for_cancels(["ended"])
        kept.held.release(ended)
        await asyncio.sleep(0)
        kept.now = LEASE * 0.8
        await kept.changed.wait()
        assert Lease("goes on", 1) in kept.fenced

    keeping(test, fences=True, lease_for=LEASE)


def test_renewals_that_come_late_and_those_without_an_answer_are_counted() -> None:
    async def test(kept: Kept) -> None:
        kept.hold("a", "b")
        kept.store.reachable = False
        kept.now = 16.0
        kept.leases.check_for_cancels([])
        await soon(lambda: kept.leases.failed)
        kept.store.reachable = True
        kept.now = 29.0
        kept.leases.check_for_cancels([])
        await soon(lambda: ["a", "b"] in kept.store.asked[1:])
        assert kept.leases.late == 0
        kept.now += 31.0
        kept.leases.check_for_cancels([])
        await soon(lambda: kept.leases.late)
        assert kept.leases.late == 2

    keeping(test)
