"""The policy `queue`: as Ray Serve's default autoscaling policy decides, with its defaults.

https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html (ongoing requests per replica,
look-back, delays). A replica that serves fewer than four requests at once is aimed at half of its slots.
"""

from math import ceil

from kumoi.core.autoscale.inputs import ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.memory import QueueMemory, window_keep

ONGOING = 2.0
UTILISATION = 0.5
LOOK_BACK_S = 30
RISE_DELAY_US, FALL_DELAY_US = 30_000_000, 600_000_000


def wish(rules: ScaleRules, state: ScalerState, seen: Seen) -> Wish:
    """What ongoing requests ask for, once they asked for it long enough without a break."""
    memory = state.memory
    assert isinstance(memory, QueueMemory)
    now_us, current = seen.now_us, seen.ready + seen.starting
    ongoing = seen.busy + seen.waiting
    samples = window_keep(memory.seen, now_us, ongoing, (rules.window_s or LOOK_BACK_S) * 1_000_000)
    mean = sum(value for _, value in samples) / len(samples)
    if rules.utilisation_ppm is None:
        each = min(ONGOING, rules.slots * UTILISATION)
    else:
        each = rules.slots * rules.utilisation_ppm / 1e6
    replicas = ceil(mean / each)
    replicas = max(rules.min_replicas, min(replicas, rules.max_replicas))
    above_us = (now_us if memory.above_us is None else memory.above_us) if replicas > current else None
    below_us = (now_us if memory.below_us is None else memory.below_us) if replicas < current else None
    figures = (("ongoing", mean), ("replicas", replicas))
    rises = above_us is not None and (now_us - above_us >= RISE_DELAY_US or current == 0)
    falls = below_us is not None and now_us - below_us >= FALL_DELAY_US
    if rises or falls:
        return Wish(replicas, "concurrency", QueueMemory(samples), figures)
    kept = QueueMemory(samples, above_us, below_us)
    until_us = None if below_us is None else below_us + FALL_DELAY_US
    reason = "held" if below_us is not None else "steady"
    return Wish(current, reason, kept, figures, hold_until_us=until_us)
