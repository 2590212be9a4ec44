"""How many hosts a pool should have: asked for when demand lasts, given back when idle long enough.

Booting costs what holding costs, so both waits are counted in boots: demand shorter than a boot cannot be
served by a host that still has to boot, and a host that is needed again within a few boots is cheaper kept
(the ski rental of Karlin, Manasse, Rudolph and Sleator, 1988). Work is never moved for it: only hosts without
any go.
"""

from collections.abc import Iterable

from kumoi.core.autoscale.hosts_inputs import (
    HostPhase,
    HostRules,
    HostsDecision,
    HostsSeen,
    HostsState,
    Mark,
    PoolHost,
)
from kumoi.model.time import US_PER_S


def hosts_decide(rules: HostRules, state: HostsState, seen: HostsSeen) -> HostsDecision:
    """What to ask for and what to give back now.

    Deterministic in its arguments. Looks may be any time apart: between two of them demand is taken to have
    been as it was at the later one. Raises ValueError for a look before the last one.
    """
    if state.looked_us is not None and seen.now_us < state.looked_us:
        raise ValueError("a pool's hosts were looked at later already; the clock went back")
    staying = [host for host in seen.hosts if host.phase is not HostPhase.LEAVING]
    needed = hosts_needed(rules, staying, seen.pending_slots)
    present = len(staying)
    # Beyond the most there may be, more makes no difference.
    counted = min(needed, rules.hosts_max)
    lasting = _lasting(state.lasting, seen.now_us, counted)
    # Nobody knows how long what is there was not needed before the first look: it is held from now.
    held = max(counted, present) if state.looked_us is None else counted
    recent = _recent(state.recent, seen.now_us, held, seen.now_us - rules.hold * US_PER_S)
    kept = HostsState(seen.now_us, lasting, recent)
    if present < max(needed, rules.hosts_min) and present <= rules.most:
        return _grow(rules, kept, seen, present, needed)
    return _shrink(rules, kept, staying, needed)


def hosts_needed(rules: HostRules, staying: Iterable[PoolHost], pending_slots: int) -> int:
    """How many hosts hold what runs and waits, with headroom; what is free may be in the wrong place.

    Nothing runs and nothing waits: none, and no headroom either.
    """
    used = ready = 0
    for host in staying:
        used += host.slots_used
        ready += host.phase is HostPhase.READY
    demand = used + pending_slots
    together = -(-(demand + rules.headroom) // rules.host_slots) if demand else 0
    apart = ready - (-pending_slots // rules.host_slots) if pending_slots else 0
    return max(together, apart)


def _grow(rules: HostRules, kept: HostsState, seen: HostsSeen, present: int, needed: int) -> HostsDecision:
    """More hosts are needed than there are."""
    lasted_us = seen.now_us - rules.patience * US_PER_S
    wanted = max((mark.hosts for mark in kept.lasting if mark.at_us <= lasted_us), default=0)
    reason = "asked"
    if not present and seen.pending_slots:
        wanted, reason = needed, "woken"
    if wanted < rules.hosts_min:
        wanted, reason = rules.hosts_min, "at_min"
    # What leaves is paid for until it is gone.
    ask = max(0, min(min(wanted, rules.most) - present, rules.most - len(seen.hosts)))
    figures = {"ask": ask, "needed": needed, "patience_s": rules.patience, "hosts": rules.most}
    if ask and seen.now_us < seen.ask_from_us:
        ask, reason = 0, "backing_off"
    elif not ask:
        capped = "at_max" if rules.most == rules.hosts_max else "over_budget"
        reason = capped if len(seen.hosts) >= rules.most else "patient"
    elif reason == "at_min":
        figures["hosts"] = rules.hosts_min
    return HostsDecision(ask, (), needed, reason, tuple(figures.items()), kept)


def _shrink(rules: HostRules, kept: HostsState, staying: list[PoolHost], needed: int) -> HostsDecision:
    """There are hosts enough, or more than there may be."""
    recent = max((mark.hosts for mark in kept.recent), default=0)
    keep = min(max(recent, rules.hosts_min), rules.most)
    surplus = len(staying) - keep
    idle = sorted(
        (host for host in staying if not host.busy and not host.slots_used),
        # What still boots goes first, the newest before the others; then what was idle longest.
        key=lambda h: (0, -h.since_us, h.id) if h.phase is HostPhase.BOOTING else (1, h.since_us, h.id),
    )
    release = tuple(host.id for host in idle[: max(0, surplus)])
    if release:
        figures = ("release", len(release)), ("hosts", keep), ("hold_s", rules.hold)
        return HostsDecision(0, release, needed, "released", figures, kept)
    if surplus > 0:
        return HostsDecision(0, (), needed, "busy", (("hosts", keep),), kept)
    if needed < len(staying) and recent > needed:
        return HostsDecision(0, (), needed, "held", (("hosts", recent), ("hold_s", rules.hold)), kept)
    return HostsDecision(0, (), needed, "steady", (), kept)


def _lasting(marks: tuple[Mark, ...], now_us: int, needed: int) -> tuple[Mark, ...]:
    """Since when how many hosts have been needed at least, now that `needed` are."""
    lower = [mark for mark in marks if mark.hosts <= needed]
    if lower and lower[-1].hosts == needed:
        return tuple(lower)
    since_us = marks[len(lower)].at_us if len(lower) < len(marks) else now_us
    return (*lower, Mark(since_us, needed))


def _recent(marks: tuple[Mark, ...], now_us: int, needed: int, from_us: int) -> tuple[Mark, ...]:
    """When how many hosts were needed last, as far back as `from_us`, now that `needed` are."""
    higher = (mark for mark in marks if mark.hosts > needed and mark.at_us >= from_us)
    return (*higher, Mark(now_us, needed))
