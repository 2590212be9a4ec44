"""Which restartable tasks to move so that larger ones fit: few moves, each with a place to go."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kumoi.core.placement.snapshot import Holding, HostView, PoolView, TaskView
from kumoi.core.queue.preempt import DEVICE_CORES
from kumoi.core.queue.space import Space, host_open, neighbours_agree
from kumoi.model.jobs import DeviceRequest
from kumoi.model.time import US_PER_S

DESTINATIONS_MAX = 64
"""Hosts that are tried for a task to be moved, the fullest first."""
MOVE_AGE_S = 3_600
"""Work placed less than this ago is not moved, so no task is moved twice within this time."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """A task that would go from one host to another."""

    attempt_id: str
    from_host_id: str
    to_host_id: str


@dataclass(frozen=True, slots=True)
class Defragmentation:
    """Moves, how many tasks like the target fit before and after them, the work that is done again, and the
    hosts on which up to the wanted number of targets then fit, by id."""

    moves: tuple[Relocation, ...]
    places_before: int
    places_after: int
    lost_core_s: int
    host_ids: tuple[str, ...]


def moves_propose(
    target: TaskView, pool: PoolView, hosts: Sequence[HostView], now_us: int, most: int, wanted: int = 1
) -> Defragmentation:
    """At most `most` moves towards `wanted` tasks like `target` that fit at once; none where none helps.

    Only restartable work outside of gangs moves that is of no higher class than the target and was placed
    `MOVE_AGE_S` ago or earlier, to hosts that have room for it and lose no place for the target by it. Hosts
    are cleared in the order of the work that is lost; ties go to the lower host id. The moved task's own
    rules are not known here: placement, which puts it on its new host, keeps them.
    """
    state = _State(target, pool, hosts, now_us)
    before = state.places_sum()
    moves: list[Relocation] = []
    lost_core_s = 0
    for host in sorted(hosts, key=state.cost):
        if len(moves) >= most or state.places_sum() >= wanted:
            break
        leaving = state.leaving(host, most - len(moves))
        found = state.relocate(host, leaving) if leaving else None
        if found is not None:
            moves += found
            lost_core_s += sum(_lost_core_s(holding, now_us) for holding in leaving)
    return Defragmentation(tuple(moves), before, state.places_sum(), lost_core_s, state.host_ids(wanted))


class _State:
    """What hosts would have left as moves are agreed on."""

    def __init__(self, target: TaskView, pool: PoolView, hosts: Sequence[HostView], now_us: int) -> None:
        self._target, self._pool, self._now_us = target, pool, now_us
        self._hosts = {host.id: host for host in hosts}
        self._spaces = {host.id: Space(host) for host in hosts}
        self._staying = {host.id: list(host.holdings) for host in hosts}
        self._places = {host.id: self._places_of(host, self._spaces[host.id]) for host in hosts}
        self._moved_to: set[str] = set()

    def places_sum(self) -> int:
        """How many tasks like the target fit."""
        return sum(self._places.values())

    def host_ids(self, wanted: int) -> tuple[str, ...]:
        """Hosts with places for so many targets together, or all that have any."""
        chosen: list[str] = []
        for host_id in sorted(self._places, key=lambda host_id: (-self._places[host_id], host_id)):
            if wanted <= 0 or not self._places[host_id]:
                break
            chosen.append(host_id)
            wanted -= self._places[host_id]
        return tuple(sorted(chosen))

    def cost(self, host: HostView) -> tuple[int, str]:
        """The work that clearing the whole host would lose."""
        return sum(_lost_core_s(holding, self._now_us) for holding in self._movable(host.holdings)), host.id

    def leaving(self, host: HostView, most: int) -> list[Holding]:
        """The least work whose leaving makes one more place for the target; empty where none does."""
        if host.id in self._moved_to or not host_open(host, self._target, self._now_us):
            return []
        space = self._spaces[host.id].copy()
        staying = list(self._staying[host.id])
        leaving: list[Holding] = []
        for holding in sorted(
            self._movable(staying), key=lambda one: (_lost_core_s(one, self._now_us), one.attempt_id)
        ):
            space.release(holding)
            staying.remove(holding)
            leaving.append(holding)
            if len(leaving) > most:
                return []
            if self._count(host, space, staying) > self._places[host.id]:
                return self._needed(host, space, staying, leaving)
        return []

    def relocate(self, host: HostView, leaving: Sequence[Holding]) -> list[Relocation] | None:
        """Move the work to other hosts, or leave everything as it was."""
        done: list[tuple[Relocation, Holding, Space]] = []
        for holding in leaving:
            to_id = self._destination(host.id, holding)
            if to_id is None:
                for relocation, _, before in reversed(done):
                    self._spaces[relocation.to_host_id] = before
                return None
            before = self._spaces[to_id].copy()
            self._spaces[to_id].take(_task_of(holding, host))
            done.append((Relocation(holding.attempt_id, host.id, to_id), holding, before))
        for relocation, holding, _ in done:
            self._spaces[host.id].release(holding)
            self._staying[host.id].remove(holding)
            self._staying[relocation.to_host_id].append(holding)
            self._moved_to.add(relocation.to_host_id)
            self._places[relocation.to_host_id] = self._places_of(
                self._hosts[relocation.to_host_id], self._spaces[relocation.to_host_id]
            )
        self._places[host.id] = self._places_of(host, self._spaces[host.id])
        return [relocation for relocation, _, _ in done]

    def _movable(self, holdings: Iterable[Holding]) -> list[Holding]:
        return [
            holding
            for holding in holdings
            if holding.restartable
            and not holding.gang
            and holding.class_rank >= self._target.class_rank
            and holding.placed_us <= self._now_us - MOVE_AGE_S * US_PER_S
        ]

    def _needed(
        self, host: HostView, space: Space, staying: Sequence[Holding], leaving: Sequence[Holding]
    ) -> list[Holding]:
        """Keep what need not leave, what costs most first."""
        needed = list(leaving)
        for holding in reversed(leaving):
            kept = space.copy()
            kept.hold(holding)
            if self._count(host, kept, [*staying, holding]) > self._places[host.id]:
                needed.remove(holding)
                space, staying = kept, [*staying, holding]
        return needed

    def _destination(self, from_id: str, holding: Holding) -> str | None:
        task = _task_of(holding, self._hosts[from_id])
        fullest = sorted(self._spaces, key=lambda host_id: (self._spaces[host_id].cpu_milli, host_id))
        tried = 0
        for host_id in fullest:
            host, space = self._hosts[host_id], self._spaces[host_id]
            if host_id == from_id or not space.fits(task) or not host_open(host, task, self._now_us):
                continue
            if not neighbours_agree(self._staying[host_id], task, self._pool):
                continue
            tried += 1
            if tried > DESTINATIONS_MAX:
                return None
            after = space.copy()
            after.take(task)
            if self._places_of(host, after) >= self._places[host_id]:
                return host_id
        return None

    def _places_of(self, host: HostView, space: Space) -> int:
        if not host_open(host, self._target, self._now_us):
            return 0
        return self._count(host, space, self._staying[host.id])

    def _count(self, host: HostView, space: Space, staying: Iterable[Holding]) -> int:
        if not neighbours_agree(staying, self._target, self._pool):
            return 0
        return space.count(self._target, max(1, len(host.devices), host.cpu_milli))


def _lost_core_s(holding: Holding, now_us: int) -> int:
    """Core-seconds that are done again; a whole device is worth `DEVICE_CORES` cores."""
    device_milli = sum(milli for _, milli in holding.devices)
    elapsed_s = max(0, now_us - holding.placed_us) // US_PER_S
    return (holding.cpu_milli + DEVICE_CORES * device_milli) * elapsed_s // 1_000


def _task_of(holding: Holding, host: HostView) -> TaskView:
    """The work as a task that asks for devices like those that it has."""
    devices = {device.id: device for device in host.devices}
    wishes = tuple(
        DeviceRequest(
            devices[device_id].kind,
            1,
            (devices[device_id].model,),
            milli,
            devices[device_id].partition or None,
        )
        for device_id, milli in holding.devices
        if device_id in devices
    )
    return TaskView(
        id=holding.attempt_id,
        job_id=holding.job_id,
        organization_id=holding.organization_id,
        cpu_milli=holding.cpu_milli,
        memory_bytes=holding.memory_bytes,
        disk_bytes=holding.disk_bytes,
        devices=wishes,
        wall_time_s=max(1, (holding.ends_us - holding.placed_us) // US_PER_S),
        class_rank=holding.class_rank,
    )
