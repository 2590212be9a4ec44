"""Machines of providers: decide how many a pool borrows, and make it so.

The row of a machine is written before it is asked for. Whatever is lost after that, a crash or an answer, the
machine is found again by its tag, so none is paid for twice and none is forgotten: what a provider holds of a
machine that has ended is ended there, and what no row knows is told of and left alone.
"""

import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kumoi.core.autoscale.hosts import hosts_decide
from kumoi.core.autoscale.hosts_demand import HOST_SLOTS, HostSize, slots_held, slots_wanted
from kumoi.core.autoscale.hosts_inputs import HostRules, HostsInputs, HostsSeen
from kumoi.core.queue.order import order
from kumoi.loops.context import LoopContext
from kumoi.model.machines import AutoscaleWrite
from kumoi.model.time import US_PER_S
from kumoi.providers.base import (
    MachinePhase,
    MachineSeen,
    MachineSpec,
    MachineTag,
    Provider,
    ProviderFull,
    ProviderRefused,
    ProviderUnavailable,
)
from kumoi.store import machines
from kumoi.store.machines import PoolLook
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Fence

SETTLE_US = 60 * US_PER_S
"""So long a provider's list may lag behind its answers."""
BOOT_LIMIT_BOOTS = 5
BOOT_LIMIT_S_MIN = 600
"""A machine that has not reported after so many boots, ten minutes at least, is given back."""
SILENT_US = 600 * US_PER_S
"""A machine without work whose host has been silent for so long is given back."""
RETRY_S = 15
RETRY_FULL_S = 60
"""What comes to nothing is tried again after this, twice as long every time, an hour at most."""
ASK_MAX = 20
"""So many machines are asked for in one pass."""
ORPHANS_MAX = 50
"""So many machines that nobody asked for any more are ended in one pass."""

_log = logging.getLogger(__name__)


def machines_activate(context: LoopContext, fence: Fence) -> bool:
    """One pass: follow what providers hold, then decide anew. A provider that fails stops only its own."""
    more = False
    for name, provider in context.providers.items():
        try:
            more = _Pass(context, fence, provider).run() or more
        except ProviderUnavailable as error:
            _log.warning("machines of the provider %s are left as they are: %s", name, error)
    _decide_all(context, fence)
    return more


def rules_of(settings: AutoscaleWrite) -> HostRules:
    """The settings in the form of the decision."""
    return HostRules(
        host_slots=HOST_SLOTS,
        boot_s=settings.boot_s,
        hosts_min=settings.hosts_min,
        hosts_max=settings.hosts_max,
        headroom_slots=settings.headroom_milli,
        patience_s=settings.patience_s,
        hold_s=settings.hold_s,
        host_hour_microyen=settings.host_hour_microyen,
        budget_hour_microyen=settings.budget_hour_microyen,
    )


def inputs_of(look: PoolLook, now_us: int) -> HostsInputs:
    """What a decision about a pool is made on: what waits by right, and what lives on each machine."""
    settings = look.settings
    size = HostSize(
        settings.host_cpu_milli,
        settings.host_memory_bytes,
        settings.host_disk_bytes,
        settings.host_devices,
    )
    hosts = tuple(
        replace(one.host, slots_used=slots_held(size, one.holdings, exclusive=look.is_exclusive))
        for one in look.machines
    )
    # Whom a quota or a budget keeps waiting, no machine would help.
    ordered = order(look.queues.waiting, look.standings, look.use, now_us, machines.WINDOW, look.prices)
    pending = slots_wanted(size, ordered.tasks, exclusive=look.is_exclusive)
    seen = HostsSeen(max(now_us, look.state.looked_us or 0), hosts, pending, look.retry_us)
    return HostsInputs(rules_of(settings), look.state, seen)


def _decide_all(context: LoopContext, fence: Fence) -> None:
    """Decide for every pool that borrows machines, and write the intent."""
    now_us = context.clock_us()
    for look in context.store.read_wait(machines.looks_read, now_us):
        provider = context.providers.get(look.settings.provider)
        # The file of providers may have changed since an operator chose one.
        if provider is None or provider.jurisdiction != look.country:
            _log.warning(
                "the pool %s borrows nothing: there is no provider %s with machines in %s",
                look.pool_id,
                look.settings.provider,
                look.country,
            )
            continue
        inputs = inputs_of(look, now_us)
        decision = hosts_decide(inputs.rules, inputs.state, inputs.seen)
        written = context.store.transact_wait(
            fence,
            machines.decision_write,
            look,
            inputs,
            decision,
            platform_id=context.platform_organization_id,
            cell=context.cell,
        )
        if written and (decision.ask or decision.release):
            context.nudge("machines", "hosts", "placement")


class _Pass:
    """One look at what a provider holds, beside the rows of what was asked for."""

    def __init__(self, context: LoopContext, fence: Fence, provider: Provider) -> None:
        self.context, self.fence, self.provider = context, fence, provider
        self.now_us = context.clock_us()

    def run(self) -> bool:
        """Follow every machine of the provider; whether there is more to ask for at once.

        Raises ProviderUnavailable, having done what could be done.
        """
        # The rows before the list: what is asked for in between is in the list and in no row that was read.
        rows = self.context.store.read_wait(machines.machines_living, self.provider.name)
        listed = self.provider.machine_list(self.context.region, self.context.incarnation)
        held = {seen.tag.machine_id: seen for seen in listed}
        asked = 0
        away: ProviderUnavailable | None = None
        for row in rows:
            asked += row.state == "requested"
            if row.state == "requested" and asked > ASK_MAX:
                continue
            try:
                self.step(row, held.get(row.id))
            except (ProviderRefused, ProviderFull) as error:
                _log.warning("the machine %s is left as it is: %s", row.id, error)
            except ProviderUnavailable as error:
                # What fails for one machine keeps no other from being given back.
                away = error
        living = {row.id for row in rows}
        self.orphans_end([machine_id for machine_id in held if machine_id not in living])
        if away is not None:
            raise away
        return asked > ASK_MAX

    def step(self, row: AnyRow, seen: MachineSeen | None) -> None:
        """Bring one machine a step on."""
        if row.state == "requested":
            self.ask(row)
        elif row.state == "releasing":
            self.release(row, seen)
        elif row.state == "booting" and row.seen_id is not None and row.host_health == "up":
            self.write(machines.machine_ready, row.id, row.seen_id)
        elif row.state == "booting":
            self.boot_watch(row, seen)
        elif row.host_health == "lost" and self.now_us - (row.host_seen_us or 0) > SILENT_US:
            self.write(machines.machine_give_back, row.id, "its host is silent", RETRY_S)

    def ask(self, row: AnyRow) -> None:
        """Ask for what is written. A refusal ends the row, no answer leaves it as it is."""
        settings = machines.settings_of(row)
        spec = MachineSpec(self.tag(row.id), row.name, settings.image, settings.size, settings.network)
        try:
            made = self.provider.machine_ensure(spec)
        except ProviderRefused as error:
            self.write(machines.machine_fail, row.id, str(error), RETRY_S)
            return
        except ProviderFull as error:
            self.write(machines.machine_fail, row.id, str(error), RETRY_FULL_S)
            return
        if made.phase is MachinePhase.GONE:
            self.write(machines.machine_fail, row.id, "its provider has ended it already", RETRY_S)
            return
        self.context.store.transact_wait(self.fence, machines.machine_boot, row.id, made.ref)

    def boot_watch(self, row: AnyRow, seen: MachineSeen | None) -> None:
        """A machine that does not report, or that its provider has no more."""
        age_us = self.now_us - row.requested_us
        limit_s = max(BOOT_LIMIT_S_MIN, BOOT_LIMIT_BOOTS * machines.settings_of(row).boot_s)
        if seen is None and age_us > SETTLE_US:
            self.write(machines.machine_fail, row.id, "its provider has it no more", RETRY_S)
        elif age_us > limit_s * US_PER_S:
            why = f"its host did not report within {limit_s} s: look at its image and its network"
            self.write(machines.machine_give_back, row.id, why, RETRY_S)

    def release(self, row: AnyRow, seen: MachineSeen | None) -> None:
        """Give a machine back once nothing lives there. It is released when its provider lists it no more.

        One that was asked for just now may not be listed yet, and is ended all the same.
        """
        if not self.context.store.transact_wait(self.fence, machines.host_clear, row.host_id):
            return
        is_new = bool(row.provider_ref) and self.now_us - row.requested_us <= SETTLE_US
        if seen is None and not is_new:
            self.write(machines.machine_released, row.id)
        elif seen is None or seen.phase is not MachinePhase.ENDING:
            self.provider.machine_release(self.tag(row.id))

    def orphans_end(self, machine_ids: Sequence[str]) -> None:
        """End what the provider holds of machines that have ended; tell of what no row knows."""
        if not machine_ids:
            return
        ended = self.context.store.read_wait(machines.machines_ended, machine_ids)
        for machine_id in ended[:ORPHANS_MAX]:
            _log.warning(
                "the machine %s has ended and is held by %s; ended there", machine_id, self.provider.name
            )
            self.provider.machine_release(self.tag(machine_id))
        known = self.context.store.read_wait(machines.machines_known, machine_ids)
        for machine_id in sorted(set(machine_ids) - known)[:ORPHANS_MAX]:
            _log.warning(
                "%s holds the machine %s, which no row of this store knows; it is left alone",
                self.provider.name,
                machine_id,
            )

    def tag(self, machine_id: str) -> MachineTag:
        """What the machine carries."""
        return MachineTag(self.context.region, self.context.incarnation, machine_id)

    def write(self, work: Callable[..., object], *facts: object) -> None:
        """Write what became of a machine."""
        self.context.store.transact_wait(
            self.fence, work, *facts, self.context.platform_organization_id, self.now_us
        )
