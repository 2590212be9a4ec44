"""What the placement loop remembers between activations: hosts and promises, never anything but a copy."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kumoi.core.placement.snapshot import Hold, HostView, Inputs, Plan, PoolView, TaskView, inputs_digest
from kumoi.core.queue.outlook import Outlook
from kumoi.core.queue.prices import Prices
from kumoi.core.queue.standing import PoolUse
from kumoi.model.time import US_PER_S
from kumoi.store.placement import Decided
from kumoi.store.placement_read import PoolRead

if TYPE_CHECKING:
    from kumoi.core.placement.pool import PoolPlacer

WIDE_ORGANIZATIONS = 16
BASE_EVERY = 1_000
"""Plans of a pool that follow one recorded base."""
BASE_AGE_US = 86_400 * US_PER_S
"""How long plans follow one base: well below the time that plans are kept, so that none loses its base."""


@dataclass(slots=True)
class PoolMemory:
    """A pool in memory, and what the next recorded plan must tell of it."""

    view: PoolView
    placer: "PoolPlacer"
    outlook: Outlook = field(default_factory=Outlook)
    use: PoolUse = field(default_factory=PoolUse)
    promises: dict[str, Hold] = field(default_factory=dict)
    """Hosts kept for groups that wait, by group."""
    vain_us: dict[str, int] = field(default_factory=dict)
    """Groups for which nothing could be done, with when they are asked for again."""
    wide_after: dict[str, str] = field(default_factory=dict)
    """How far the last wide look at an organization's queue went, by organization: the last task's id."""
    wide_last: str = ""
    """The last organization that was looked at widely."""
    _changed: dict[str, HostView] = field(default_factory=dict)
    """Hosts that changed since the plan recorded last, in the order of their first change: also those that
    came and went, for a replay to give every host the row that it has here."""
    _gone: set[str] = field(default_factory=set)
    _base_id: str | None = None
    """The plan that recorded all hosts; None while none has, or a new one is due."""
    _base_us: int = 0
    _previous_id: str | None = None
    _digest: str = ""
    _plans: int = 0
    _learned: bytes | None = None

    @property
    def hosts(self) -> dict[str, HostView]:
        """The hosts that may take work, by id."""
        return self.outlook.hosts

    def take_in(self, read: PoolRead) -> None:
        """Follow the rows."""
        for view in read.base or read.changed:
            self._leave(view.id)
            self.use.host_enter(view)
            self.outlook.host_put(view)
        if read.base is not None:
            self.placer.hosts_put(self._base())
            return
        self.placer.hosts_put(read.changed)
        self.placer.hosts_remove(read.gone)
        for view in read.changed:
            self._changed[view.id] = view
            self._gone.discard(view.id)
        for host_id in read.gone:
            self._leave(host_id)
            self.outlook.host_remove(host_id)
            self._gone.add(host_id)

    def base_renew_due(self, now_us: int) -> None:
        """Begin a new chain of recorded inputs where the last one is long or old, or was never begun."""
        is_over = self._plans >= BASE_EVERY or now_us - self._base_us >= BASE_AGE_US
        if is_over if self._base_id is not None else self._changed or self._gone:
            self.placer = self.placer.anew(self._base())
            self._base_id = self._previous_id = None
            self._plans = 0
            self._changed.clear()
            self._gone.clear()

    def holds(self, now_us: int) -> tuple[Hold, ...]:
        """The promises. One that ran out holds for one pass more, in which it is made anew."""
        return tuple(
            hold if now_us < hold.until_us else replace(hold, until_us=now_us + 1)
            for hold in self.promises.values()
        )

    def wide_next(self, organizations: Iterable[str]) -> frozenset[str]:
        """Those of the organizations that are looked at widely next: in turn, so many at once."""
        names = sorted(organizations)
        behind = [name for name in names if name > self.wide_last]
        chosen = (behind + names)[: min(WIDE_ORGANIZATIONS, len(names))]
        self.wide_last = chosen[-1] if chosen else ""
        return frozenset(chosen)

    def promises_keep(self, group_ids: AbstractSet[str]) -> None:
        """Forget promises to groups that do not wait any more."""
        self.promises = {name: hold for name, hold in self.promises.items() if name in group_ids}

    def promises_drop(self, now_us: int) -> None:
        """Forget promises that ran out, and what was in vain long ago."""
        self.promises = {name: hold for name, hold in self.promises.items() if now_us < hold.until_us}
        self.vain_us = {name: until_us for name, until_us in self.vain_us.items() if now_us < until_us}

    def decided(
        self, plan: Plan, tasks: Sequence[TaskView], holds: Sequence[Hold], prices: Prices
    ) -> Decided:
        """The plan with what it was decided on, for the store."""
        follows = self._base_id is not None
        learned = self.placer.learned()
        inputs = Inputs(
            pool=self.view,
            base=None if follows else self._base(),
            changed=tuple(self._changed.values()) if follows else (),
            gone=tuple(sorted(self._gone)) if follows else (),
            tasks=tuple(tasks),
            holds=tuple(holds),
            policy=plan.policy,
            learned=learned if not follows or learned != self._learned else None,
            now_us=plan.decided_us,
            seed=plan.seed,
        )
        return Decided(
            plan=plan,
            digest=inputs_digest(self._digest if follows else "", inputs),
            inputs=inputs,
            generations={one.host_id: self.hosts[one.host_id].generation for one in plan.placed},
            tasks={task.id: task for task in tasks},
            prices=prices,
            base_id=self._base_id,
            previous_id=self._previous_id,
        )

    def recorded(self, decided: Decided, plan_id: str) -> None:
        """The plan is in the store: the next one tells only what changed since."""
        if self._base_id is None:
            self._base_id, self._base_us = plan_id, decided.plan.decided_us
        self._previous_id, self._digest = plan_id, decided.digest
        self._plans += 1
        self._changed.clear()
        self._gone.clear()
        if decided.inputs.learned is not None:
            self._learned = decided.inputs.learned

    def _base(self) -> tuple[HostView, ...]:
        """All hosts, in the order of a replay's rows."""
        return tuple(self.hosts[host_id] for host_id in sorted(self.hosts))

    def _leave(self, host_id: str) -> None:
        before = self.hosts.get(host_id)
        if before is not None:
            self.use.host_leave(before)


@dataclass(slots=True)
class PlacementMemory:
    """What the loop remembers of all pools, under one lease epoch."""

    epoch: int = -1
    pools: dict[str, PoolMemory] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    """Notes of changed hosts taken in and not yet removed from the store."""
    stale: set[str] = field(default_factory=set)
    """Hosts that had changed when a plan was applied: read again, whether or not somebody noted it."""

    def forget(self, epoch: int) -> None:
        """Begin anew: somebody else may have placed in between."""
        self.epoch = epoch
        self.pools, self.taken, self.stale = {}, set(), set()

    def wide_after(self, pool_id: str, organizations: Iterable[str]) -> dict[str, str]:
        """Where wide looks at these organizations' queues in a pool go on."""
        found = self.pools.get(pool_id)
        after = found.wide_after if found is not None else {}
        return {name: after.get(name, "") for name in organizations}

    def promised(self, pool_id: str) -> Collection[str]:
        """The groups that something is kept for in a pool."""
        found = self.pools.get(pool_id)
        return found.promises.keys() if found is not None else ()

    def known(self, pool: PoolView) -> Mapping[str, HostView] | None:
        """The hosts of a pool, None where it is not in memory as it is now."""
        found = self.pools.get(pool.id)
        return found.hosts if found is not None and found.view == pool else None
