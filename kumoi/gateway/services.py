"""One service inside the gateway: its replicas, who waits, and who gets the next free slot."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from kumoi.gateway.counters import Carried, Counters
from kumoi.gateway.refusals import Refusal
from kumoi.gateway.slots import Slots
from kumoi.model.routes import Endpoint, ReplicaHealth, ReplicaRoute, ServiceRoute

RETRY_AFTER_S: Final = 1


class Idle(Protocol):
    """A connection to a replica that nobody uses now."""

    idle_since: float

    def close(self) -> None:
        """End it."""


class Ticket(Protocol):
    """A request that wants a slot. Times are of the event loop's clock, in seconds."""

    arrived: float
    deadline_queue: float

    def grant(self, replica: "Replica") -> None:
        """Go: the slot is held until `Service.release`."""

    def refuse(self, refusal: Refusal) -> None:
        """There is no slot for this one, and there will be none."""


class Replica:
    """A replica as the gateway knows it: what the table says, what its checks say, what is in flight."""

    __slots__ = ("alive", "busy", "detail", "id", "idle", "ready", "ready_ms", "route")

    def __init__(self, route: ReplicaRoute) -> None:
        self.id = route.id
        self.route = route
        self.busy = 0
        self.idle: list[Idle] = []
        self.ready: bool | None = None
        self.alive = True
        self.ready_ms: int | None = None
        self.detail = ""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self.route.endpoint

    @property
    def takes(self) -> bool:
        """Whether it may get requests."""
        return self.route.serving and self.ready is True

    def idle_close(self) -> None:
        """End the connections that nobody uses."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    def health(self, busy_elsewhere: int = 0) -> ReplicaHealth:
        """What to report; some requests may have come past the activator."""
        busy = self.busy + busy_elsewhere
        return ReplicaHealth(self.id, self.ready, self.alive, busy, self.ready_ms, self.detail)


class Service:
    """First come, first served: a request takes a slot of the least loaded replica, or waits for one.

    `wake` is called when a request waits and no replica is ready. The caller of `ask` gets `grant` or
    `refuse` on its ticket exactly once, at once or later, unless it calls `cancel`.
    """

    def __init__(
        self, route: ServiceRoute, loop: asyncio.AbstractEventLoop, wake: Callable[["Service"], None]
    ) -> None:
        self.route = route
        self.replicas: dict[str, Replica] = {}
        self.slots: Slots[Replica] = Slots(route.concurrency)
        self.counters = Counters()
        self.carried = Carried()
        self.waiting: OrderedDict[Ticket, None] = OrderedDict()
        self.busy = 0
        self._loop = loop
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, ticket: Ticket) -> None:
        """A request has come: give it a slot, let it wait, or refuse it."""
        self.counters.arrived += 1
        ticket.arrived = self._loop.time()
        ticket.deadline_queue = ticket.arrived + self.route.queue_timeout_ms / 1_000
        if not self.waiting:
            replica = self.slots.take()
            if replica is not None:
                self._grant(ticket, replica, 0.0)
                return
        if len(self.waiting) >= self.route.queue_length_max:
            self.counters.refused += 1
            self.counters.violated += 1
            ticket.refuse(
                Refusal(503, "queue_full", "All replicas are busy and the queue is full.", RETRY_AFTER_S)
            )
        else:
            self._enqueue(ticket, first=False)
        if not self.slots:
            self._wake(self)

    def again(self, ticket: Ticket, replica: Replica) -> None:
        """A granted request did not reach its replica: first in the queue, for what is left of its time."""
        self.counters.retried += 1
        self._enqueue(ticket, first=True)
        self.release(replica)
        if not self.slots and ticket in self.waiting:
            self._wake(self)

    def cancel(self, ticket: Ticket) -> None:
        """The client of a waiting request is gone."""
        if self.waiting.pop(ticket, ticket) is None:
            self.counters.abandoned += 1

    def release(self, replica: Replica) -> None:
        """A slot is free again; the next request gets it."""
        replica.busy -= 1
        self.busy -= 1
        self.slots.give(replica)
        if self.waiting:
            self.pump()

    def pump(self) -> None:
        """Give free slots to those who wait."""
        now = self._loop.time()
        while self.waiting:
            replica = self.slots.take()
            if replica is None:
                return
            ticket, _none = self.waiting.popitem(last=False)
            self._grant(ticket, replica, now - ticket.arrived)

    def replica_changed(self, replica: Replica) -> None:
        """Its route or its health may have changed: let it take requests, or no more."""
        takes = replica.takes and self.replicas.get(replica.id) is replica
        if takes and replica not in self.slots:
            self.slots.join(replica, replica.busy)
            self.pump()
        elif not takes and replica in self.slots:
            self.slots.leave(replica)
            replica.idle_close()

    def route_change(self, route: ServiceRoute) -> None:
        """Follow a new table; slots are counted anew where the limit changed."""
        if route.concurrency != self.route.concurrency:
            self.slots = Slots(route.concurrency)
            for replica in self.replicas.values():
                if replica.takes:
                    self.slots.join(replica, replica.busy)
        self.route = route
        self.pump()

    def end(self) -> None:
        """The service is no more: nobody who waits will get a slot."""
        waiting, self.waiting = self.waiting, OrderedDict()
        for ticket in waiting:
            self.counters.lost += 1
            ticket.refuse(Refusal(503, "service_ended", "The service was deleted while the request waited."))

    def _grant(self, ticket: Ticket, replica: Replica, waited_s: float) -> None:
        replica.busy += 1
        self.busy += 1
        self.counters.waits.add(waited_s)
        if waited_s * 1_000 > self.route.slo_wait_ms:
            self.counters.violated += 1
        ticket.grant(replica)

    def _enqueue(self, ticket: Ticket, *, first: bool) -> None:
        self.waiting[ticket] = None
        if first:
            self.waiting.move_to_end(ticket, last=False)
        if self._timer is None:
            self._timer = self._loop.call_at(ticket.deadline_queue, self._expire)

    def _expire(self) -> None:
        """Refuse those who waited too long. The queue is in order of arrival, so the first is due first."""
        self._timer = None
        now = self._loop.time()
        while self.waiting:
            ticket = next(iter(self.waiting))
            if ticket.deadline_queue > now:
                self._timer = self._loop.call_at(ticket.deadline_queue, self._expire)
                return
            del self.waiting[ticket]
            self.counters.expired += 1
            self.counters.lost += 1
            self.counters.violated += 1
            ticket.refuse(
                Refusal(
                    504,
                    "queue_timeout",
                    f"No replica was free for {self.route.queue_timeout_ms} ms.",
                    RETRY_AFTER_S,
                )
            )
