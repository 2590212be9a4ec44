"""The model that autoscalers are compared in: requests, replicas, a queue, and a look every second.

One central queue, first in first out; a replica serves `slots` requests at once, a request goes to the
replica with the fewest. A replica is billed from the moment it is asked for and of use `cold_start_s` later.
What is too much is given back starting ones first (the youngest), then idle ones, then those with the least
to do, which are billed until their last request has ended.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import repeat

from autoscale_load import Requests

from kumoi.core.autoscale.inputs import Seen

TICK_S = 1
SERVICE_LOOKS = 200
"""The mean service time that is shown to a policy weighs about this many of the last requests."""
NEVER = float("inf")

Scaler = Callable[[Seen], int]
"""From a look to the number of replicas that there should be."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a service is: `slots` a replica, waits of `slo_s` allowed, replicas of use after `cold_start_s`.

    What happens before `warm_up_s` is not counted.
    """

    slots: int
    slo_s: float
    cold_start_s: float
    warm_up_s: float = 0.0
    replicas_max: int = 400


@dataclass(slots=True)
class Outcome:
    """What a run cost and did. `trail` has one row a look where it was asked for: (time, requests in the
    service, replicas, violations so far)."""

    replica_s: float = 0.0
    requests: int = 0
    violations: int = 0
    starts: int = 0
    wait_s: float = 0.0
    trail: list[tuple[float, int, int, int]] = field(default_factory=list)

    @property
    def violation_share(self) -> float:
        """Requests that waited too long, as a share of all."""
        return self.violations / max(1, self.requests)


class Service:
    """A service under a scaler, second by second."""

    def __init__(self, requests: Requests, terms: Terms) -> None:
        self.terms, self.outcome = terms, Outcome()
        self.arrivals = [*requests.arrivals.tolist(), NEVER]
        self.service = requests.service.tolist()
        self.end_s = int(requests.length_s)
        self.arrived = self.begun = self.ended = self.late = 0
        self.ends: list[tuple[float, int, float]] = []
        self.busy: dict[int, int] = {0: 0}
        self.born: dict[int, float] = {0: 0.0}
        self.free: list[dict[int, None]] = [{} for _ in range(terms.slots)]
        self.free[0][0] = None
        self.starting: deque[tuple[float, int]] = deque()
        self.draining: set[int] = set()
        self.names = 1
        self.service_s = 0.0

    def run(self, scaler: Scaler, *, trail: bool = False) -> Outcome:
        """Let the scaler look every second until the end."""
        terms, outcome = self.terms, self.outcome
        arrived = ended = late = 0
        cold_ms = round(terms.cold_start_s * 1_000)
        for now in range(0, self.end_s, TICK_S):
            while self.starting and self.starting[0][0] <= now:
                ready_s, name = self.starting.popleft()
                self._advance(ready_s)
                self.busy[name] = 0
                self.free[0][name] = None
                self._advance(ready_s)
            self._advance(now)
            serving = len(self.ends)
            seen = Seen(
                (now + TICK_S) * 1_000_000,
                self.arrived - arrived,
                self.service_s * 1_000 if self.begun else None,
                self.arrived - self.begun,
                serving,
                len(self.busy) - len(self.draining),
                tuple([round((now - self.born[name]) * 1_000) for _, name in self.starting]),
                self.late - late,
                self.ended - ended,
                cold_ms,
            )
            arrived, ended, late = self.arrived, self.ended, self.late
            self._scale(min(scaler(seen), terms.replicas_max), now)
            if trail:
                up = len(self.busy) - len(self.draining) + len(self.starting)
                outcome.trail.append((now, serving + seen.waiting, up, late))
        self._close()
        return outcome

    def _advance(self, until: float) -> None:
        """Arrivals, beginnings and ends up to a time."""
        arrivals, service, ends, free, busy = self.arrivals, self.service, self.ends, self.free, self.busy
        arrived, begun = self.arrived, self.begun
        slots, slo_s, warm_up_s = self.terms.slots, self.terms.slo_s, self.terms.warm_up_s
        while True:
            at = min(arrivals[arrived], ends[0][0] if ends else NEVER)
            if at > until:
                if begun == arrived or not any(free):
                    break
                at = until
            elif at == arrivals[arrived]:
                arrived += 1
            else:
                _, name, taken = heappop(ends)
                self.ended += 1
                self.service_s += (taken - self.service_s) / min(self.ended, SERVICE_LOOKS)
                count = busy[name] = busy[name] - 1
                if name not in self.draining:
                    if count + 1 < slots:
                        del free[count + 1][name]
                    free[count][name] = None
                elif count == 0:
                    self._end(name, at)
            while begun < arrived:
                level = next((number for number, names in enumerate(free) if names), -1)
                if level < 0:
                    break
                name = free[level].popitem()[0]
                busy[name] = level + 1
                if level + 1 < slots:
                    free[level + 1][name] = None
                taken = service[begun]
                heappush(ends, (at + taken, name, taken))
                wait_s = at - arrivals[begun]
                if wait_s > slo_s:
                    self.late += 1
                    self.outcome.violations += arrivals[begun] >= warm_up_s
                if arrivals[begun] >= warm_up_s:
                    self.outcome.wait_s += wait_s
                begun += 1
        self.arrived, self.begun = arrived, begun

    def _scale(self, wanted: int, now: float) -> None:
        up = len(self.busy) - len(self.draining) + len(self.starting)
        for _ in repeat(None, wanted - up):
            self.born[self.names] = now
            self.starting.append((now + self.terms.cold_start_s, self.names))
            self.names += 1
            self.outcome.starts += now >= self.terms.warm_up_s
        for _ in repeat(None, up - wanted):
            self._give_back(now)

    def _give_back(self, now: float) -> None:
        if self.starting:
            self._end(self.starting.pop()[1], now)
            return
        for names in self.free:
            if names:
                name = names.popitem()[0]
                break
        else:
            name = next(name for name in self.busy if name not in self.draining)
        if self.busy[name]:
            self.draining.add(name)
        else:
            self._end(name, now)

    def _end(self, name: int, now: float) -> None:
        self.outcome.replica_s += max(0.0, now - max(self.born.pop(name), self.terms.warm_up_s))
        self.busy.pop(name, None)
        self.draining.discard(name)

    def _close(self) -> None:
        """Bill what is left, and count what still waits."""
        for name in list(self.born):
            self._end(name, self.end_s)
        waiting = self.arrivals[self.begun : self.arrived]
        terms = self.terms
        self.outcome.violations += sum(
            at >= terms.warm_up_s and self.end_s - at > terms.slo_s for at in waiting
        )
        self.outcome.requests = sum(at >= terms.warm_up_s for at in self.arrivals[: self.arrived])
