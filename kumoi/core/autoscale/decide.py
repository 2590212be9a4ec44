"""The door for replicas: a policy's wish, bounded by what the user asked for."""

from collections.abc import Callable

from kumoi.core.autoscale import kumoi_policy, panic, queue, target
from kumoi.core.autoscale.inputs import Decision, ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.memory import KumoiMemory, Memory, PanicMemory, QueueMemory, TargetMemory

_POLICIES: dict[str, tuple[Callable[[ScaleRules, ScalerState, Seen], Wish], Callable[[], Memory]]] = {
    "kumoi": (kumoi_policy.wish, KumoiMemory),
    "target": (target.wish, TargetMemory),
    "panic": (panic.wish, PanicMemory),
    "queue": (queue.wish, QueueMemory),
}
POLICY_NAMES = tuple(_POLICIES)
BEHIND_US_MAX = 60_000_000


def scaler_new(policy: str) -> ScalerState:
    """The state of a service that nobody has looked at. ValueError for a name not in `POLICY_NAMES`."""
    if policy not in _POLICIES:
        raise ValueError(f"there is no scaling policy {policy}; use one of {', '.join(POLICY_NAMES)}")
    return ScalerState(policy, _POLICIES[policy][1]())


def decide(rules: ScaleRules, state: ScalerState, seen: Seen) -> Decision:
    """How many replicas there should be now.

    Deterministic in its arguments. A state of another policy than the rules name is started anew, as is one
    from more than a minute later (the clock was set back). Looks should be one or two seconds apart; one
    that is not later than the one before changes nothing.
    """
    behind_us = -1 if state.looked_us is None else state.looked_us - seen.now_us
    if state.policy != rules.policy or behind_us > BEHIND_US_MAX:
        state = scaler_new(rules.policy)
        behind_us = -1
    low, high = bounds(rules, seen.now_us)
    if behind_us >= 0:
        return Decision(min(max(state.wanted, low), high), "steady", (), state)
    wished = _POLICIES[rules.policy][0](rules, state, seen)
    wanted, reason, figures = wished.replicas, wished.reason, wished.figures
    if wanted == 0 and seen.waiting:
        wanted, reason = 1, "wake"
        figures = (("waiting", seen.waiting),)
    if wanted > high:
        figures, wanted, reason = (("replicas", wanted),), high, "at_max"
    elif wanted < low:
        figures, wanted, reason = (("replicas", wanted),), low, "at_min"
    if rules.pin is not None:
        figures, reason = (), "pinned"
    return Decision(
        wanted,
        reason,
        figures,
        ScalerState(rules.policy, wished.memory, seen.now_us, wanted),
        wished.forecast,
        wished.quantile,
        wished.hold_until_us,
    )


def bounds(rules: ScaleRules, now_us: int) -> tuple[int, int]:
    """The fewest and the most replicas that the service may have now: pin, else schedules, inside its own."""
    low, high = rules.min_replicas, rules.max_replicas
    if rules.pin is not None:
        fixed = max(low, min(rules.pin, high))
        return fixed, fixed
    if not rules.schedules:
        return low, high
    active = [schedule for schedule in rules.schedules if schedule.active(now_us)]
    most = min((s.max_replicas for s in active if s.max_replicas is not None), default=high)
    least = max((s.min_replicas for s in active if s.min_replicas is not None), default=low)
    least = max(low, min(least, high))
    return least, max(least, min(most, high))
