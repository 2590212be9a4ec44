"""What a service would cost whoever knew the future: the yardstick of the autoscaling benchmark.

Demand is the number of requests that would be in service if none ever waited. Layer k is the k-th replica:
it is needed wherever demand reaches into its slots. Between two needs a replica is kept (costs the gap) or
given back and started again (costs the cold start, ahead of time): a gap is bridged exactly if it is no
longer than a cold start. A need may also be skipped at a price per request, the same for all layers: the
price is sought at which no more requests are skipped than may be. What a skipped need counts is its work
(slot-seconds) in mean service times, so that no work is counted as saved that some request did not stand for.
With one slot and no skipping this is the exact minimum for zero waits.
"""

from dataclasses import dataclass

import numpy as np
from autoscale_load import Floats, Requests
from autoscale_model import Terms

ROUNDS = 40
CLOSE = 1.01
PRICE_MAX_S = 1e7


@dataclass(frozen=True, slots=True)
class Layer:
    """When a replica is needed: from, to, and the requests whose work falls there."""

    starts: list[float]
    ends: list[float]
    requests: list[float]


def layers_cut(requests: Requests, terms: Terms) -> list[Layer]:
    """The layers of the demand after the warm-up."""
    begin, end = terms.warm_up_s, requests.length_s
    times = np.concatenate([requests.arrivals, requests.arrivals + requests.service])
    steps = np.concatenate([np.ones(len(requests.arrivals), int), -np.ones(len(requests.arrivals), int)])
    order = np.argsort(times, kind="stable")
    times, inside = times[order], np.cumsum(steps[order])
    clipped = np.clip(times, begin, end)
    lasting = np.diff(clipped, append=end)
    mean_s = float(requests.service.mean())
    layers = []
    for below in range(0, int(inside.max()), terms.slots):
        edges = np.diff((inside > below).astype(np.int8), prepend=0, append=0)
        first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        work = np.cumsum(np.clip(inside - below, 0, terms.slots) * lasting)
        work = np.concatenate([[0.0], work])
        starts, ends = clipped[first], clipped[np.minimum(last, len(times) - 1)]
        share = (work[last] - work[first]) / mean_s
        counted = ends > starts
        layers.append(Layer(starts[counted].tolist(), ends[counted].tolist(), _list(share[counted])))
    return layers


def _list(values: Floats) -> list[float]:
    return [float(value) for value in values]


def reference_replica_s(layers: list[Layer], count: int, cold_start_s: float, share: float) -> float:
    """The least replica-seconds with at most this share of `count` requests skipped."""
    low, high = 1e-3, PRICE_MAX_S
    best = _cost(layers, cold_start_s, high)[0]
    if share == 0:
        return best
    for _ in range(ROUNDS):
        price = (low * high) ** 0.5
        replica_s, skipped = _cost(layers, cold_start_s, price)
        if skipped <= share * count:
            high, best = price, replica_s
        else:
            low = price
        if high < low * CLOSE:
            break
    return best


def _cost(layers: list[Layer], cold_start_s: float, price: float) -> tuple[float, float]:
    costs = [_layer_cost(layer, cold_start_s, price) for layer in layers]
    return sum(cost for cost, _ in costs), sum(skipped for _, skipped in costs)


def _layer_cost(layer: Layer, cold_start_s: float, price: float) -> tuple[float, float]:
    """Replica-seconds and skipped requests of the cheapest plan at this price, by dynamic programming.

    After each need the replica is up or away; both states keep their cost and what was skipped on the way.
    """
    up, up_skipped = float("inf"), 0.0
    away, away_skipped = 0.0, 0.0
    before = 0.0
    for start, end, requests in zip(layer.starts, layer.ends, layer.requests, strict=True):
        kept, started = up + start - before, away + cold_start_s
        if kept <= started:
            up, up_skipped = kept + end - start, up_skipped
        else:
            up, up_skipped = started + end - start, away_skipped
        away += price * requests
        away_skipped += requests
        if up < away:
            away, away_skipped = up, up_skipped
        before = end
    return away - price * away_skipped, away_skipped
