"""What operators watch, as OpenMetrics text (version 1.0.0). Names of services stay out: ids tell enough."""

from collections.abc import Callable, Iterable
from typing import Final

from kumoi.gateway.counters import BOUNDS_S, Histogram
from kumoi.gateway.services import Service
from kumoi.gateway.traffic import Traffic

METRICS_TYPE: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_COUNTERS: Final[tuple[tuple[str, str, Callable[[Service], float]], ...]] = (
    ("requests", "Requests that came.", lambda service: service.counters.arrived),
    ("requests_completed", "Requests that were answered by a replica.", lambda s: s.counters.completed),
    ("requests_violated", "Requests that waited longer than the objective.", lambda s: s.counters.violated),
    ("requests_lost", "Requests accepted and not answered by a replica.", lambda s: s.counters.lost),
    ("requests_refused", "Requests that found the queue full.", lambda s: s.counters.refused),
    ("requests_expired", "Requests that waited until their deadline.", lambda s: s.counters.expired),
    ("requests_abandoned", "Requests whose client went away.", lambda s: s.counters.abandoned),
    ("retries", "Requests given to another replica.", lambda s: s.counters.retried),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[Service], float]], ...]] = (
    ("concurrency", "Requests at replicas now.", lambda service: service.busy),
    ("queue_length", "Requests that wait for a slot now.", lambda service: len(service.waiting)),
    ("replicas_ready", "Replicas that may get requests.", lambda service: len(service.slots)),
)
_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Service], Histogram]], ...]] = (
    ("queue_wait_seconds", "Time from arrival to slot.", lambda service: service.counters.waits),
    ("request_duration_seconds", "Time from slot to last byte.", lambda service: service.counters.times),
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


def _histogram(name: str, service: str, histogram: Histogram) -> Iterable[str]:
    below = 0
    for bound, count in zip((*BOUNDS_S, float("inf")), histogram.counts, strict=True):
        below += count
        limit = "+Inf" if bound == float("inf") else repr(float(bound))
        yield f'{name}_bucket{{service="{service}",le="{limit}"}} {below}'
    yield f'{name}_sum{{service="{service}"}} {histogram.sum_s:.6f}'
    yield f'{name}_count{{service="{service}"}} {below}'
