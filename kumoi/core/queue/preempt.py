"""Who makes room for work of a higher class that does not fit: as little lost work as possible, bounded.

Only work of a lower class is ended, gangs always whole. Work that a class's floor protects (`floors_protect`)
is spared: what went before the classes above it is not ended again by them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kumoi.core.placement.snapshot import Holding, HostView, PoolView, TaskView
from kumoi.core.queue.backfill import failure_domain
from kumoi.core.queue.fairness import NOTHING, Amounts, amounts_of, dominant_share
from kumoi.core.queue.order import CLASS_FLOORS
from kumoi.core.queue.space import Space, host_open, neighbours_agree
from kumoi.model.jobs import GangScope, SpreadOver
from kumoi.model.time import US_PER_S

DEVICE_CORES = 16
"""Lost work is counted in core-seconds, a whole device being worth this many cores."""
DOMAINS_MAX = 64
"""Islands (or hosts, for gangs on one host) that are tried for a gang, those with the least work first."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """The attempts to end, the core-seconds of work that may be lost with those that cannot be moved, and the
    hosts on which the group then fits, by id."""

    attempt_ids: tuple[str, ...]
    lost_core_s: int
    host_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Loss:
    """What ending work costs: first what cannot be restarted, then core-seconds, then how many attempts."""

    core_s: int = 0
    restartable_core_s: int = 0
    attempts: int = 0

    def plus(self, other: "_Loss") -> "_Loss":
        return _Loss(
            self.core_s + other.core_s,
            self.restartable_core_s + other.restartable_core_s,
            self.attempts + other.attempts,
        )


@dataclass(frozen=True, slots=True)
class _Unit:
    """What ends together: an attempt, or all of a gang, as (host, holding)."""

    key: str
    parts: tuple[tuple[str, Holding], ...]
    loss: _Loss

    def on(self, host_id: str) -> list[Holding]:
        """What of it is on the host."""
        return [holding for of, holding in self.parts if of == host_id]


def floors_protect(hosts: Iterable[HostView], capacity: Amounts) -> frozenset[str]:
    """The attempts that stand within their class's floor (`CLASS_FLOORS`), the longest placed first."""
    return floor_protects([holding for host in hosts for holding in host.holdings], capacity)


def floor_protects(holdings: Iterable[Holding], capacity: Amounts) -> frozenset[str]:
    """`floors_protect` of this work, which has to be all of its classes in the pool."""
    held = [NOTHING for _ in CLASS_FLOORS]
    protected: set[str] = set()
    for holding in sorted(holdings, key=lambda one: (one.placed_us, one.attempt_id)):
        rank = holding.class_rank
        if dominant_share(held[rank], capacity) < CLASS_FLOORS[rank]:
            protected.add(holding.attempt_id)
            held[rank] = held[rank].plus(amounts_of(holding))
    return frozenset(protected)


def victims_choose(
    group: Sequence[TaskView],
    pool: PoolView,
    hosts: Sequence[HostView],
    now_us: int,
    most: int,
    protected: AbstractSet[str] = frozenset(),
    near: AbstractSet[str] | None = None,
) -> Eviction | None:
    """The attempts to end so that all tasks of the group fit; None where `most` of them would not do.

    `group` is a gang, whose tasks are alike, or one task. Hosts are taken one after the other, each time the
    one where least is lost, and there the victims in the order of loss; none that a task does not need. For a
    gang the choice is good, not best. Ties go to the lower host id. `near` are the hosts that the group's
    running members bind it to, None where they do not.
    """
    task = group[0]
    open_hosts = [
        host for host in hosts if (near is None or host.id in near) and host_open(host, task, now_us)
    ]
    units = _units(hosts, task, now_us, protected)
    best: _Trial | None = None
    for domain in _domains(open_hosts, task):
        trial = _Trial(task, pool, domain, units)
        if trial.take(len(group)) and (best is None or trial.loss < best.loss):
            best = trial
    if best is None or best.loss.attempts > most:
        return None
    ids = sorted(holding.attempt_id for unit in best.victims for _, holding in unit.parts)
    return Eviction(tuple(ids), best.loss.core_s, tuple(sorted(best.host_ids)))


def _units(
    hosts: Sequence[HostView], task: TaskView, now_us: int, protected: AbstractSet[str]
) -> dict[str, _Unit]:
    """What may end, by attempt; a gang with a protected member does not."""
    parts: dict[str, list[tuple[str, Holding]]] = {}
    spared: set[str] = set()
    for host in hosts:
        for holding in host.holdings:
            key = f"gang {holding.job_id}" if holding.gang else holding.attempt_id
            parts.setdefault(key, []).append((host.id, holding))
            if holding.class_rank <= task.class_rank or holding.attempt_id in protected:
                spared.add(key)
    units: dict[str, _Unit] = {}
    for key in parts.keys() - spared:
        loss = _Loss()
        for _, holding in parts[key]:
            loss = loss.plus(_loss(holding, now_us))
        unit = _Unit(key, tuple(parts[key]), loss)
        units |= {holding.attempt_id: unit for _, holding in unit.parts}
    return units


def _loss(holding: Holding, now_us: int) -> _Loss:
    device_milli = sum(milli for _, milli in holding.devices)
    elapsed_s = max(0, now_us - holding.placed_us) // US_PER_S
    core_s = (holding.cpu_milli + DEVICE_CORES * device_milli) * elapsed_s // 1_000
    return _Loss(0, core_s, 1) if holding.restartable else _Loss(core_s, 0, 1)


def _domains(hosts: Sequence[HostView], task: TaskView) -> list[list[HostView]]:
    """The sets of hosts that may take the group together, `DOMAINS_MAX` at most."""
    if task.gang is None or task.gang_within in (None, GangScope.SITE):
        return [list(hosts)]
    sets: dict[str, list[HostView]] = {}
    for host in hosts:
        shared = host.fabric_island if task.gang_within is GangScope.FABRIC_ISLAND else ""
        sets.setdefault(shared or host.id, []).append(host)
    by_work = sorted(sets.items(), key=lambda item: (sum(len(host.holdings) for host in item[1]), item[0]))
    return [members for _, members in by_work[:DOMAINS_MAX]]


def _sum(units: Iterable[_Unit]) -> _Loss:
    total = _Loss()
    for unit in units:
        total = total.plus(unit.loss)
    return total


class _Trial:
    """Room made for a group on the hosts of one domain, task by task."""

    def __init__(
        self, task: TaskView, pool: PoolView, hosts: Sequence[HostView], units: Mapping[str, _Unit]
    ) -> None:
        self.victims: list[_Unit] = []
        self.loss = _Loss()
        self.host_ids: set[str] = set()
        self._task = task
        self._pool = pool
        self._units = units
        self._hosts = {host.id: host for host in hosts}
        self._spaces = {host.id: Space(host) for host in hosts}
        self._staying = {host.id: list(host.holdings) for host in hosts}
        self._of_job: Counter[str] = Counter()
        for host in hosts:
            self._of_job[self._spread_domain(host)] += sum(h.job_id == task.job_id for h in host.holdings)

    def take(self, wanted: int) -> bool:
        """Make room for `wanted` tasks; False where there is none to be made."""
        offers = {host_id: self._offer(host_id) for host_id in self._hosts}
        for _ in range(wanted):
            possible = [(_sum(offer), host_id) for host_id, offer in offers.items() if offer is not None]
            if not possible:
                return False
            _, host_id = min(possible)
            self._accept(host_id, offers[host_id] or ())
            for changed in self._changed_by(host_id, offers[host_id] or ()):
                offers[changed] = self._offer(changed)
        return True

    def _offer(self, host_id: str) -> tuple[_Unit, ...] | None:
        """What more must end for one more task on the host, None where nothing helps."""
        task, host = self._task, self._hosts[host_id]
        if task.spread_over is not None and self._of_job[self._spread_domain(host)] >= task.spread_most:
            return None
        space, staying = self._spaces[host_id].copy(), self._staying[host_id]
        here = {unit.key: unit for h in staying if (unit := self._units.get(h.attempt_id)) is not None}
        chosen: list[_Unit] = []
        for unit in sorted(here.values(), key=lambda unit: (unit.loss, unit.key)):
            if self._fits(space, staying, chosen):
                break
            _release(space, unit, host_id)
            chosen.append(unit)
        if not self._fits(space, staying, chosen):
            return None
        return self._needed(space, host_id, chosen)

    def _needed(self, space: Space, host_id: str, chosen: Sequence[_Unit]) -> tuple[_Unit, ...]:
        """Leave out what need not end, what costs most first."""
        needed = list(chosen)
        for unit in reversed(chosen):
            without = [other for other in needed if other is not unit]
            kept = space.copy()
            for holding in unit.on(host_id):
                kept.hold(holding)
            if self._fits(kept, self._staying[host_id], without):
                needed, space = without, kept
        return tuple(needed)

    def _fits(self, space: Space, staying: Iterable[Holding], chosen: Iterable[_Unit]) -> bool:
        return space.fits(self._task) and neighbours_agree(_left(staying, chosen), self._task, self._pool)

    def _accept(self, host_id: str, victims: Sequence[_Unit]) -> None:
        """End the victims, wherever they run, and put the task on the host."""
        for of in self._changed_by(host_id, victims):
            for unit in victims:
                _release(self._spaces[of], unit, of)
            self._staying[of] = _left(self._staying[of], victims)
        self.victims += victims
        self.loss = self.loss.plus(_sum(victims))
        self.host_ids.add(host_id)
        self._spaces[host_id].take(self._task)
        self._of_job[self._spread_domain(self._hosts[host_id])] += 1

    def _changed_by(self, host_id: str, victims: Sequence[_Unit]) -> set[str]:
        """Hosts that look different when the victims have ended and the task is on its host."""
        changed = {host_id} | {of for unit in victims for of, _ in unit.parts}
        if self._task.spread_over is SpreadOver.FAILURE_DOMAIN:
            domain = failure_domain(self._hosts[host_id])
            changed |= {host.id for host in self._hosts.values() if failure_domain(host) == domain}
        return changed & self._hosts.keys()

    def _spread_domain(self, host: HostView) -> str:
        return failure_domain(host) if self._task.spread_over is SpreadOver.FAILURE_DOMAIN else host.id


def _left(staying: Iterable[Holding], chosen: Iterable[_Unit]) -> list[Holding]:
    gone = {holding.attempt_id for unit in chosen for _, holding in unit.parts}
    return [holding for holding in staying if holding.attempt_id not in gone]


def _release(space: Space, unit: _Unit, host_id: str) -> None:
    for holding in unit.on(host_id):
        space.release(holding)
