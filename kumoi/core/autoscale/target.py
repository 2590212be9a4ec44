"""The policy `target`: as Kubernetes' HorizontalPodAutoscaler v2 decides, with its defaults.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (algorithm, tolerance, replicas
that are not ready, default target and behaviour). The metric is requests in the service for each slot.
"""

from math import ceil

from kumoi.core.autoscale.inputs import ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.memory import TargetMemory, peak_keep

SYNC_US = 15_000_000
TOLERANCE = 0.1
STABILISATION_S = 300
UTILISATION_PPM = 800_000
RISE_LEAST = 4
RISE_FACTOR = 2


def wish(rules: ScaleRules, state: ScalerState, seen: Seen) -> Wish:
    """The highest of what was recommended within the stabilisation window."""
    memory = state.memory
    assert isinstance(memory, TargetMemory)
    inside_sum, looks = memory.inside_sum + seen.busy + seen.waiting, memory.looks + 1
    if memory.synced_us is not None and seen.now_us - memory.synced_us < SYNC_US:
        kept = TargetMemory(memory.synced_us, inside_sum, looks, memory.advised)
        return Wish(state.wanted, "steady", kept)
    now_us = seen.now_us
    utilisation = (rules.utilisation_ppm or UTILISATION_PPM) / 1e6
    current = seen.ready + seen.starting
    advice = _recommendation(inside_sum / looks / (rules.slots * utilisation), seen)
    advice = min(advice, max(current + RISE_LEAST, current * RISE_FACTOR))
    window_us = (rules.window_s or STABILISATION_S) * 1_000_000
    advised = peak_keep(memory.advised, now_us, advice, window_us)
    at_us, peak = advised[0]
    reason = "held" if peak > advice else "utilisation"
    figures = (("inside", inside_sum / looks), ("replicas", advice))
    return Wish(
        int(peak), reason, TargetMemory(now_us, 0, 0, advised), figures, hold_until_us=at_us + window_us
    )


def _recommendation(full: float, seen: Seen) -> int:
    """Replicas when `full` of them, at the target, would carry what is in the service.

    Replicas that are not ready count as idle when more are wanted; if that turns the answer around, or
    comes near to the target, nothing changes.
    """
    current = seen.ready + seen.starting
    if not seen.ready:
        return current
    ratio = full / seen.ready
    if ratio > 1 and seen.starting:
        ratio = full / current
        return current if ratio < 1 + TOLERANCE else ceil(full - 1e-9)
    return current if abs(ratio - 1) <= TOLERANCE else ceil(full - 1e-9)
