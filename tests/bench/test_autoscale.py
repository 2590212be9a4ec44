"""The model and the reference of the autoscaling benchmark against what can be counted by hand."""

import importlib.util
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
MODULES = ("autoscale_load", "autoscale_model", "autoscale_reference")


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """The modules by name, loaded one by one: the `queue.py` beside them must not hide Python's."""
    loaded = {}
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[name])
    yield loaded
    for name in MODULES:
        del sys.modules[name]


def requests_make(bench: dict[str, ModuleType], rows: list[tuple[float, float]], length_s: float) -> object:
    arrivals, service = np.array(rows).T
    return bench["autoscale_load"].Requests(arrivals, service, length_s)


def test_a_request_waits_for_a_cold_start_and_replicas_are_billed_from_the_request(
    bench: dict[str, ModuleType],
) -> None:
    model = bench["autoscale_model"]
    requests = requests_make(bench, [(0.5, 30.0), (1.5, 2.0)], 60.0)
    terms = model.Terms(slots=1, slo_s=3.0, cold_start_s=5.0)
    outcome = model.Service(requests, terms).run(
        lambda seen: 2 if 2_000_000 < seen.now_us < 20_000_000 else 1
    )
    # The second replica is asked for at 2 s, serves from 7 s to 9 s, and goes at 19 s.
    assert outcome.violations == 1
    assert outcome.starts == 1
    assert outcome.wait_s == pytest.approx(5.5)
    assert outcome.replica_s == pytest.approx(60 + 17)


def test_a_busy_replica_is_billed_until_it_is_drained(bench: dict[str, ModuleType]) -> None:
    model = bench["autoscale_model"]
    requests = requests_make(bench, [(0.5, 20.0), (30.5, 1.0)], 40.0)
    terms = model.Terms(slots=1, slo_s=60.0, cold_start_s=5.0)
    outcome = model.Service(requests, terms).run(lambda seen: 1 if seen.waiting else 0)
    # The first replica is idle and goes at once. One is asked for at 1 s and at 31 s, of use 5 s later, given
    # back at that moment, and billed until its request has ended at 26 s and at 37 s.
    assert outcome.replica_s == pytest.approx(25 + 6)
    assert outcome.violations == 0


def test_starting_replicas_are_given_back_first(bench: dict[str, ModuleType]) -> None:
    model = bench["autoscale_model"]
    requests = requests_make(bench, [(100.0, 1.0)], 50.0)
    outcome = model.Service(requests, model.Terms(1, 1.0, 30.0)).run(
        lambda seen: 3 if seen.now_us < 11_000_000 else 1
    )
    assert outcome.replica_s == pytest.approx(50 + 2 * 10)
    assert outcome.requests == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_reference_is_the_cheapest_of_all_plans(bench: dict[str, ModuleType], seed: int) -> None:
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(8, 7))
    rows = [(float(at), float(taken)) for at, taken in zip(arrivals, random.exponential(6, 7), strict=True)]
    requests = requests_make(bench, rows, 500.0)
    cold_start_s = 10.0
    terms = bench["autoscale_model"].Terms(slots=1, slo_s=0.0, cold_start_s=cold_start_s)
    reference = bench["autoscale_reference"]
    layers = reference.layers_cut(requests, terms)
    cheapest = 0.0
    for layer in layers:
        gaps = [after - before for before, after in zip(layer.ends, layer.starts[1:], strict=False)]
        cheapest += min(
            cold_start_s
            + sum(end - start for start, end in zip(layer.starts, layer.ends, strict=True))
            + sum(gap if keep else cold_start_s for gap, keep in zip(gaps, plan, strict=True))
            for plan in product((True, False), repeat=len(gaps))
        )
    found = reference.reference_replica_s(layers, len(rows), cold_start_s, 0)
    assert found == pytest.approx(cheapest)
    skipping = reference.reference_replica_s(layers, len(rows), cold_start_s, 0.3)
    assert skipping < found
    assert skipping >= 0.7 * sum(taken for _, taken in rows) - max(taken for _, taken in rows)


def test_counts_are_spread_inside_their_step(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    load = bench["autoscale_load"]
    trace = tmp_path / "counts.txt"
    trace.write_text("3\n0\n2\n" + "0\n" * 1_437 + "1\n" * 1_440)
    spec = load.Spec(trace, 60.0, (0, 0), 1.0, "lognormal:2:1")
    requests = load.requests_load(spec, seed=1)
    assert [int(at // 60) for at in requests.arrivals] == [0, 0, 0, 2, 2]
    assert requests.length_s == 86_400
    assert (load.requests_load(spec, seed=1).service == requests.service).all()
    with pytest.raises(ValueError, match="use lognormal"):
        load.requests_load(load.Spec(trace, 60.0, None, 1.0, "constant"), seed=1)
