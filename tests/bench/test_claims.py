"""The bench of claims on a tiny region: what it counts is what the plane wrote. Nothing here is timed."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = str(Path(__file__).resolve().parents[2] / "bench")
NAMES = ("ports", "plane", "report", "load", "slurm", "submit", "claims")
FOUND = {
    "claims_per_s_c4": 300.0,
    "claims_share_of_raw": 30.0,
    "claims_one_by_one_per_s_c4": 50.0,
    "claim_cpu_ms": 1.5,
    "raw_commits_per_s": 1_000.0,
}


@pytest.fixture(scope="module")
def claims() -> Iterator[ModuleType]:
    """The script, which imports others of bench/ as programs do."""
    sys.path.append(BENCH)
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    yield importlib.import_module("claims")
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    sys.path.remove(BENCH)


def test_figures_stand_beside_raw_commits_of_the_same_run(claims: ModuleType) -> None:
    figures = {figure.name: figure for figure in claims.figures_make(FOUND)}
    assert figures.keys() == FOUND.keys()
    assert (figures["claims_per_s_c4"].goal, figures["claims_per_s_c4"].reference) == (150.0, 1_000.0)
    assert figures["claims_per_s_c4"].reached
    missed = {figure.name: figure for figure in claims.figures_make(FOUND | {"claims_share_of_raw": 14.0})}
    assert missed["claims_share_of_raw"].reached is False


def test_a_plane_over_hosts_in_name_only_places_what_is_submitted(claims: ModuleType) -> None:
    with claims.ClaimRegion(20) as region:
        region.start()
        region.wait(claims.HOSTS, 20, claims.HOSTS_S)
        tenant = region.tenant()
        jobs = [tenant.submit({"command": ["true"], "name": f"job-{number}"}) for number in range(5)]
        region.wait(claims.WAITING, 0, claims.DRAIN_S)
        assert region.count(claims.PLACED) == 5
        assert {tenant.job(job)["state"] for job in jobs} == {"running"}
        tenant.client.close()
        assert claims.cpu_seconds(region.pid) > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs the load generator wrk")
def test_both_ways_of_claiming_are_measured(claims: ModuleType) -> None:
    found = claims.claims_measure(100, 1, 1)
    assert found.keys() == FOUND.keys()
    assert all(value > 0 for value in found.values())
