"""The default policy: calibrated forecasts over the measured cold start, and surplus held as long as it pays.

1. Demand is what arrives times how long it is served (`demand`).
2. Several forecasts of it are made for the moment at which a replica asked for now is of use (`forecasts`);
   the one with the lowest loss gets its learned margin (`margins`).
3. An offset on the margin gives back what violations do not need: the share of requests that waited too
   long is kept near the target. With a target set by the user the offset may also add margin. (Integral
   control of a miss rate: Gibbs and Candes, "Adaptive Conformal Inference Under Distribution Shift", 2021.)
4. Where replicas start sooner than a request may wait, nothing is forecast: there are slots for what is
   there. Where they do not, the policy is careful with a service that has no history (`_cautious`).
5. A backlog gets slots that drain it in ten service times.
6. Surplus replicas are held for a part of the cold start: giving one back and starting it again costs a cold
   start, so holding much longer costs more than it can save (ski rental; Karlin, Manasse, Rudolph, Sleator,
   "Competitive Snoopy Caching", 1988).

The choice among forecasts and margins is made before the look is learned from, so that within one decision
more demand never asks for less.
"""

from math import ceil, sqrt

from kumoi.core.autoscale.demand import demand_count
from kumoi.core.autoscale.forecasts import LOOK_US, USUAL, forecasts_make, signal_follow
from kumoi.core.autoscale.inputs import ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.margins import LEVELS, margins_learn, slots_needed
from kumoi.core.autoscale.memory import KumoiMemory, peak_keep

COLD_START_MS = 10_000
"""Assumed until one was measured."""
SERVICE_MS = 1_000.0
QUANTILE, QUANTILE_MAX = 0.985, 0.9995
SHARE = 0.007
"""Requests that may wait too long, where the user set no target."""
OFFSETS, OFFSETS_TARGETED = (-2.0, 0.0), (-6.0, 12.0)
GAIN = 0.005
SPARSE = 10.0
"""How many times as much more a service with hardly any requests learns from each, towards a target set."""
DRAIN_SERVICES, DRAIN_MS_MIN = 10, 10_000
HOLD_PART, HOLD_US_MIN = 0.6, 5_000_000
SPARE = 0.1
"""A replica is not started for less than this part of a slot."""
INFANT_US, INFANT_USE, INFANT_HOLD_US = 600_000_000, 0.8, 300_000_000
CHILD_US, CHILD_OFFSET = 86_400_000_000, -0.15
AHEAD_US_MAX, MADE_MAX = 600_000_000, 600


def wish(rules: ScaleRules, state: ScalerState, seen: Seen) -> Wish:
    """Replicas for the demand expected when one asked for now is of use; surplus is held."""
    memory = state.memory
    assert isinstance(memory, KumoiMemory)
    now_us = seen.now_us
    since_us = now_us - state.looked_us if state.looked_us is not None else LOOK_US
    service_ms = seen.service_ms or SERVICE_MS
    cold_ms = COLD_START_MS if seen.cold_start_ms is None else seen.cold_start_ms
    ahead_us = min(max(0, (cold_ms - rules.slo_wait_ms) * 1_000 + since_us), AHEAD_US_MAX)
    share, tau, offsets = _aims(rules)

    window_us = int((service_ms + rules.slo_wait_ms) * 1_000)
    counted, rate = demand_count(memory.counted, now_us, seen.arrivals, window_us)
    demand = rate * service_ms * 1_000
    signal = signal_follow(memory.signal, demand, now_us, since_us, ahead_us)
    forecasts = forecasts_make(demand, signal)
    best = memory.losses.index(min(memory.losses))
    forecast, margins = forecasts[best], memory.margins[best * LEVELS : (best + 1) * LEVELS]
    hold_us = max(int(HOLD_PART * cold_ms * 1_000), HOLD_US_MIN)
    least = 1 if seen.busy or seen.waiting else 0
    if ahead_us:
        slots = slots_needed(margins, forecast, memory.offset)
        slots, hold_us, least = _cautious(slots, hold_us, least, seen, now_us - signal.started_us)
    else:
        forecast = slots = float(seen.busy + seen.waiting)
    drain_ms = max(DRAIN_SERVICES * service_ms, DRAIN_MS_MIN)
    draining = demand + seen.waiting * service_ms / drain_ms if seen.waiting else 0.0
    needed = max(least, ceil((max(slots, draining) - SPARE) / rules.slots))

    made, due = _due((*memory.made[-MADE_MAX:], (now_us, forecasts)), now_us - ahead_us)
    learned = memory.margins, memory.losses
    if due is not None:
        learned = margins_learn(*learned, due, demand, tau, since_us)
    advised = peak_keep(memory.advised, now_us, needed, hold_us)
    missed = seen.violations - share * seen.arrivals
    offset = memory.offset + _gain(rules, signal.averages[USUAL]) * missed
    if rules.violation_target_ppm is None and now_us - signal.started_us < CHILD_US:
        offset = max(offset, CHILD_OFFSET)
    offset = min(max(offset, offsets[0]), offsets[1])
    kept = KumoiMemory(counted, signal, made, *learned, offset, advised)
    at_us, peak = advised[0]
    reason = "held" if peak > needed else "backlog" if draining > slots else "forecast"
    figures = (
        ("forecast", forecast),
        ("ahead_s", cold_ms / 1_000),
        ("waiting", seen.waiting),
        ("replicas", needed),
    )
    quantile = (slots - forecast) / sqrt(forecast + 0.25)
    return Wish(int(peak), reason, kept, figures, forecast, quantile, at_us + hold_us)


def _cautious(slots: float, hold_us: int, least: int, seen: Seen, age_us: int) -> tuple[float, int, int]:
    """Slots, hold and least replicas of a service without history, whose replicas start slowly.

    In the first minutes what is there counts, as it does for an autoscaler that forecasts nothing. On the
    first day little margin is given back and the last replica stays.
    """
    if age_us < INFANT_US:
        slots = max(slots, (seen.busy + seen.waiting) / INFANT_USE)
        hold_us = max(hold_us, INFANT_HOLD_US)
    return slots, hold_us, 1 if age_us < CHILD_US else least


def _aims(rules: ScaleRules) -> tuple[float, float, tuple[float, float]]:
    """The share of requests that may wait too long, the quantile followed, and the bounds of the offset."""
    if rules.violation_target_ppm is None:
        return SHARE, QUANTILE, OFFSETS
    share = rules.violation_target_ppm / 1e6
    return share, min(max(1 - share, 0.5), QUANTILE_MAX), OFFSETS_TARGETED


def _gain(rules: ScaleRules, usual: float) -> float:
    """What a request that waited too long adds to the offset, at a demand of `usual` over the day."""
    gain = GAIN / sqrt(usual + 1)
    return gain if rules.violation_target_ppm is None else gain * (1 + SPARSE / (usual + 1) ** 2)


def _due(
    made: tuple[tuple[int, tuple[float, ...]], ...], due_us: int
) -> tuple[tuple[tuple[int, tuple[float, ...]], ...], tuple[float, ...] | None]:
    """The forecasts that are still needed, and the youngest of those that are due, if any is."""
    first = 0
    while first + 1 < len(made) and made[first + 1][0] <= due_us:
        first += 1
    due = made[first][1] if made[first][0] <= due_us else None
    return made[first:], due
