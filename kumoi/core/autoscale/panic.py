"""The policy `panic`: as Knative's pod autoscaler (KPA) decides, with its defaults.

https://knative.dev/docs/serving/autoscaling/kpa-specific/ and `config-autoscaler` of knative/serving (stable
and panic windows, target, rates, grace before zero).
"""

from math import ceil

from kumoi.core.autoscale.inputs import ScalerState, ScaleRules, Seen, Wish
from kumoi.core.autoscale.memory import PanicMemory, Samples, window_keep

TICK_US = 2_000_000
STABLE_S = 60
PANIC_SHARE = 0.1
PANIC_THRESHOLD = 2.0
UTILISATION_PPM = 700_000
RISE_FACTOR, FALL_FACTOR = 1_000, 2
GRACE_US = 30_000_000


def wish(rules: ScaleRules, state: ScalerState, seen: Seen) -> Wish:
    """What the mean concurrency over the stable window asks for; in a panic the most that was ever asked."""
    memory = state.memory
    assert isinstance(memory, PanicMemory)
    now_us, stable_us = seen.now_us, (rules.window_s or STABLE_S) * 1_000_000
    samples = window_keep(memory.seen, now_us, seen.busy + seen.waiting, stable_us)
    if memory.synced_us is not None and now_us - memory.synced_us < TICK_US:
        kept = PanicMemory(memory.synced_us, samples, memory.panic_us, memory.panic_replicas, memory.idle_us)
        return Wish(state.wanted, "steady", kept)
    each = rules.slots * (rules.utilisation_ppm or UTILISATION_PPM) / 1e6
    ready = max(1, seen.ready)
    stable = ceil(_mean(samples, now_us - stable_us) / each)
    sudden = ceil(_mean(samples, now_us - round(stable_us * PANIC_SHARE)) / each)
    over = sudden / ready >= PANIC_THRESHOLD
    low, high = ready // FALL_FACTOR, ready * RISE_FACTOR
    stable, sudden = min(max(stable, low), high), min(max(sudden, low), high)
    panic_us = memory.panic_us
    if over:
        panic_us = now_us
    elif panic_us is not None and now_us - panic_us > stable_us:
        panic_us = None
    replicas, most = stable, 0
    if panic_us is not None:
        replicas = most = max(stable, sudden, memory.panic_replicas)
    idle_us = (now_us if memory.idle_us is None else memory.idle_us) if replicas == 0 else None
    if idle_us is not None and now_us - idle_us < GRACE_US:
        replicas = min(1, seen.ready + seen.starting)
    figures = (("concurrency", samples[-1][1]), ("replicas", replicas))
    kept = PanicMemory(now_us, samples, panic_us, most, idle_us)
    return Wish(replicas, "concurrency" if panic_us is None else "panic", kept, figures)


def _mean(samples: Samples, after_us: int) -> float:
    values = [value for at_us, value in samples if at_us > after_us]
    return sum(values) / len(values)
