"""The default policy: calibrated forecasts over the measured cold start (first version)."""

from math import ceil, exp, sqrt

from kumoi.core.autoscale.inputs import ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.memory import KumoiMemory, peak_keep

COLD_START_MS = 10_000
SERVICE_MS = 1_000.0
QUANTILE = 2.0


def wish(rules: ScaleRules, state: ScalerState, seen: Seen) -> Wish:
    """Slots for the demand expected when a replica asked for now is ready, with a margin; surplus is held."""
    memory = state.memory
    assert isinstance(memory, KumoiMemory)
    service_us = (seen.service_ms or SERVICE_MS) * 1_000
    cold_ms = seen.cold_start_ms or COLD_START_MS
    since_us = seen.now_us - (state.looked_us or seen.now_us)
    demand = memory.demand * exp(-since_us / service_us) + seen.arrivals
    slots = demand + QUANTILE * sqrt(demand + 0.25) if demand > 0.05 else 0.0
    slots += seen.waiting * service_us / max(service_us, cold_ms * 1_000)
    needed = ceil(slots / rules.slots)
    hold_us = cold_ms * 1_000
    advised = peak_keep(memory.advised, seen.now_us, needed, hold_us)
    at_us, peak = advised[0]
    figures = (("forecast", demand), ("ahead_s", cold_ms / 1_000), ("replicas", needed))
    reason = "held" if peak > needed else "forecast"
    return Wish(int(peak), reason, KumoiMemory(demand, advised), figures, demand, QUANTILE, at_us + hold_us)
