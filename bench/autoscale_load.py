"""Requests for the autoscaling benchmark: arrivals of published traces, and how long each is served.

A trace of counts is a text file of one number a line; one of requests is CSV with the time in its first
column. Both may be gzipped. Counts are spread uniformly inside their second or minute.
"""

import csv
import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Requests:
    """Arrivals in seconds from the start, rising, and the service time of each. `length_s` ends the trace."""

    arrivals: Floats
    service: Floats
    length_s: float


@dataclass(frozen=True, slots=True)
class Spec:
    """Which part of a trace is used, and how.

    `days` are the first and the last day of a trace of counts (None: all), `step_s` the time of one count,
    `thin` the share of requests that is kept, `service` is `lognormal:MEAN:CV`, `trace` (the column
    `exec_time_seconds`) or `llm` (`0.1 + ContextTokens / 8000 + 0.025 x GeneratedTokens` seconds).
    """

    path: Path
    step_s: float
    days: tuple[int, int] | None
    thin: float
    service: str


def requests_load(spec: Spec, seed: int) -> Requests:
    """The requests of a trace. ValueError for a service or a file that does not fit."""
    random = np.random.default_rng(seed)
    kind, _, rest = spec.service.partition(":")
    if kind == "lognormal":
        arrivals, length_s = _counts_spread(spec, random)
        mean, variation = (float(part) for part in rest.split(":"))
        return Requests(arrivals, _lognormal(mean, variation, len(arrivals), random), length_s)
    if kind in ("trace", "llm"):
        return _rows_read(spec, kind, random)
    raise ValueError(f"service {spec.service}: use lognormal:MEAN:CV, trace or llm")


def _counts_spread(spec: Spec, random: np.random.Generator) -> tuple[Floats, float]:
    with _opened(spec.path) as file:
        counts = np.array([int(line) for line in file], dtype=np.int64)
    if spec.days is not None:
        per_day = round(DAY_S / spec.step_s)
        counts = counts[spec.days[0] * per_day : (spec.days[1] + 1) * per_day]
    if not len(counts):
        raise ValueError(f"{spec.path}: no counts on days {spec.days}")
    if spec.thin < 1:
        counts = random.binomial(counts, spec.thin)
    starts = np.repeat(np.arange(len(counts)) * spec.step_s, counts)
    return np.sort(starts + random.random(len(starts)) * spec.step_s), len(counts) * spec.step_s


def _lognormal(mean: float, variation: float, count: int, random: np.random.Generator) -> Floats:
    square = math.log(1 + variation * variation)
    return random.lognormal(math.log(mean) - square / 2, math.sqrt(square), count)


def _rows_read(spec: Spec, kind: str, random: np.random.Generator) -> Requests:
    rows: list[tuple[float, float]] = []
    with _opened(spec.path) as file:
        for row in csv.DictReader(file):
            at = next(iter(row.values()))
            if kind == "trace":
                taken = float(row["exec_time_seconds"] or 0)
            else:
                taken = 0.1 + float(row["ContextTokens"]) / 8_000 + 0.025 * float(row["GeneratedTokens"])
            if taken > 0:
                rows.append((_seconds(at), taken))
    table = np.array(sorted(rows))
    if spec.thin < 1:
        table = table[random.random(len(table)) < spec.thin]
    arrivals = table[:, 0] - table[0, 0]
    if spec.days is not None:
        kept = (arrivals >= spec.days[0] * DAY_S) & (arrivals < (spec.days[1] + 1) * DAY_S)
        table, arrivals = table[kept], arrivals[kept] - spec.days[0] * DAY_S
    return Requests(arrivals, table[:, 1], float(math.ceil(arrivals[-1])) + 1)


def _seconds(text: str) -> float:
    whole, _, part = text.partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{part or 0}")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield file
