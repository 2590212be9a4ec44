"""The policies that the autoscaling benchmark compares: the product's own, under several settings.

`aws` is here alone: target tracking as EC2 Auto Scaling documents it (three minutes above the target to grow,
fifteen below to shrink), which the product does not offer.
"""

from collections import deque
from collections.abc import Callable
from math import ceil

from autoscale_model import Scaler, Terms

from kumoi.core.autoscale.decide import decide, scaler_new
from kumoi.core.autoscale.inputs import ScaleRules, Seen

POLICIES: dict[str, dict[str, int | str]] = {
    "kumoi": {"policy": "kumoi"},
    "kumoi-auto": {"policy": "kumoi"},
    "target": {"policy": "target"},
    "target-0.5": {"policy": "target", "utilisation_ppm": 500_000},
    "panic": {"policy": "panic"},
    "panic-0.3-300s": {"policy": "panic", "utilisation_ppm": 300_000, "window_s": 300},
    "queue": {"policy": "queue"},
    "aws-0.5": {},
}
"""What a row of the benchmark is called, and what it sets."""

OUT_MINUTES, IN_MINUTES = 3, 15
AWS_UTILISATION, AWS_SLACK = 0.5, 0.9
MINUTE_S = 60


def scaler_make(name: str, terms: Terms, violation_target: float, fewest: int | None) -> Scaler:
    """A policy as a function of looks; `violation_target` (a share) is asked of `kumoi-auto` only.

    Without `fewest`, those that can go to zero may, and the others keep one replica.
    """
    min_replicas = (0 if name.startswith(("kumoi", "panic")) else 1) if fewest is None else fewest
    if name == "aws-0.5":
        return tracking_scaler(terms, min_replicas)
    asked = round(violation_target * 1e6) if name == "kumoi-auto" else None
    set_here: Callable[..., ScaleRules] = ScaleRules
    rules = set_here(
        **POLICIES[name],
        min_replicas=min_replicas,
        max_replicas=terms.replicas_max,
        slots=terms.slots,
        slo_wait_ms=round(terms.slo_s * 1_000),
        violation_target_ppm=asked,
    )
    state = scaler_new(rules.policy)

    def scale(seen: Seen) -> int:
        nonlocal state
        decision = decide(rules, state, seen)
        state = decision.state
        return decision.wanted

    return scale


def tracking_scaler(terms: Terms, min_replicas: int) -> Scaler:
    """Target tracking: alarms on the mean use of a minute, three above the target or fifteen well below."""
    minutes: deque[float] = deque(maxlen=IN_MINUTES)
    used = looks = 0
    wanted = max(1, min_replicas)

    def scale(seen: Seen) -> int:
        nonlocal used, looks, wanted
        used, looks = used + seen.busy, looks + 1
        if looks < MINUTE_S:
            return wanted
        minutes.append(used / looks / (max(1, seen.ready) * terms.slots))
        mean = used / looks
        used = looks = 0
        fitting = max(1, min_replicas, ceil(mean / (terms.slots * AWS_UTILISATION)))
        if all(use > AWS_UTILISATION for use in list(minutes)[-OUT_MINUTES:]) and len(minutes) >= OUT_MINUTES:
            wanted = max(wanted, fitting)
        elif len(minutes) == IN_MINUTES and all(use < AWS_UTILISATION * AWS_SLACK for use in minutes):
            wanted = min(wanted, fitting)
            minutes.clear()
        return wanted

    return scale
