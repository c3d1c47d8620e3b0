"""What callers must know of a store before they rely on it, each fact by itself."""

from __future__ import annotations

from typing import Protocol

from .messages import Discards


class StoreTraits(Protocol):
    """Facts that hold for every store of a kind. A store over a network differs in most of them."""

    @property
    def is_durable(self) -> bool:
        """Whether its jobs outlive this process."""
        ...

    @property
    def is_multi_process(self) -> bool:
        """Whether other processes can open it by its `url`."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether its workers run on this machine, so that a path names the same file for them."""
        ...

    @property
    def is_server(self) -> bool:
        """Whether it is a Conveyor server: agents on other machines can use its `url`."""
        ...

    @property
    def answers_can_be_lost(self) -> bool:
        """Whether a call can take effect although its answer never arrives.

        A worker must then confirm what it claims.
        """
        ...

    @property
    def can_be_partitioned(self) -> bool:
        """Whether it can be out of our reach while others reach it.

        A worker must then stop a job in time whose lease it cannot renew.
        """
        ...

    @property
    def keeps_call_order(self) -> bool:
        """Whether a call takes effect only after every earlier call did.

        Without that, a caller must wait for an answer before it makes a call that depends on it.
        """
        ...

    @property
    def maintains_itself(self) -> bool:
        """Whether it stages, rescues, prunes and ticks by itself; workers then only send beats."""
        ...

    @property
    def discards(self) -> Discards:
        """Jobs that this process discarded here although no code of theirs had failed.

        They wait to be logged; the oldest are dropped. What a server discards, the server logs.
        """
        ...

    @property
    def records_actions(self) -> bool:
        """Whether it writes its audit log itself; callers must then not write to it."""
        ...
