"""What operators watch, as OpenMetrics text (version 1.0.0). Names of services stay out: ids tell enough."""

from collections.abc import Callable, Iterable
from typing import Final

from kumoi.gateway.counters import BOUNDS_S, Histogram
from kumoi.gateway.services import Service
from kumoi.gateway.traffic import Traffic

METRICS_TYPE: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

Value = Callable[[Service], float]

_COUNTERS: Final[tuple[tuple[str, str, Value], ...]] = (
    ("requests", "Requests that came.", lambda s: s.counters.arrived + s.carried.arrived),
    ("completed", "Requests that a replica answered.", lambda s: s.counters.completed + s.carried.completed),
    ("violated", "Requests that waited too long.", lambda s: s.counters.violated + s.carried.violated),
    ("lost", "Requests accepted but not answered.", lambda s: s.counters.lost + s.carried.lost),
    ("refused", "Requests that found the queue full.", lambda s: s.counters.refused + s.carried.refused),
    ("expired", "Requests that waited until their deadline.", lambda s: s.counters.expired),
    ("abandoned", "Requests whose client went away.", lambda s: s.counters.abandoned),
    ("retries", "Requests given to another replica.", lambda s: s.counters.retried + s.carried.retried),
)
_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    ("concurrency", "Requests at replicas now.", lambda s: s.busy + s.carried.busy),
    ("queue_length", "Requests that wait for a slot now.", lambda s: len(s.waiting) + s.carried.waiting),
    ("replicas_ready", "Replicas that may get requests.", lambda s: len(s.slots)),
)
_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Service], list[int]]], ...]] = (
    (
        "queue_wait_seconds",
        "Time from arrival to slot.",
        lambda s: _sum(s.counters.waits, s.carried.below(s.carried.waits_above)),
    ),
    (
        "request_duration_seconds",
        "Time from slot to last byte; past HAProxy to the first byte.",
        lambda s: _sum(s.counters.times, s.carried.below(s.carried.times_above)),
    ),
)


def metrics_text(traffic: Traffic) -> str:
    """All metrics of all services."""
    services = list(traffic.services.values())
    lines: list[str] = []
    for name, text, value in _COUNTERS:
        lines += _family(name, "counter", text)
        lines += [f"kumoi_gateway_{name}_total{_label(s)} {value(s)}" for s in services]
    for name, text, value in _GAUGES:
        lines += _family(name, "gauge", text)
        lines += [f"kumoi_gateway_{name}{_label(s)} {value(s)}" for s in services]
    for name, text, histogram in _HISTOGRAMS:
        lines += _family(name, "histogram", text)
        for service in services:
            lines += _histogram(f"kumoi_gateway_{name}", service.route.id, histogram(service))
    lines += [*_family("table_version", "gauge", "Version of the table in use.")]
    lines += [f"kumoi_gateway_table_version {traffic.table.version}", "# EOF", ""]
    return "\n".join(lines)


def _family(name: str, kind: str, text: str) -> Iterable[str]:
    unit = ["# UNIT kumoi_gateway_" + name + " seconds"] if name.endswith("_seconds") else []
    return [f"# TYPE kumoi_gateway_{name} {kind}", *unit, f"# HELP kumoi_gateway_{name} {text}"]


def _label(service: Service) -> str:
    return f'{{service="{service.route.id}"}}'


def _sum(held: Histogram, carried: list[int]) -> list[int]:
    return [mine + its for mine, its in zip(held.counts, carried, strict=True)]


def _histogram(name: str, service: str, counts: list[int]) -> Iterable[str]:
    """Buckets only (OpenMetrics allows it): HAProxy gives no sum, and half a sum would mislead."""
    below = 0
    for bound, count in zip((*BOUNDS_S, float("inf")), counts, strict=True):
        below += count
        limit = "+Inf" if bound == float("inf") else repr(float(bound))
        yield f'{name}_bucket{{service="{service}",le="{limit}"}} {below}'
