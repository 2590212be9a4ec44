"""The bench of a region on a tiny one: its mix, its engine, and that its figures are told. None is timed."""

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

BENCH = str(Path(__file__).resolve().parents[2] / "bench")
NAMES = ("report", "sim_engine", "region_mix", "region_world", "region")
DAY_S = 86_400


@dataclass
class Bench:
    """The modules of bench/ that make the region."""

    mix: ModuleType
    world: ModuleType
    region: ModuleType


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """The scripts, which import each other as programs do."""
    sys.path.append(BENCH)
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    loaded = {name: importlib.import_module(name) for name in NAMES}
    yield Bench(loaded["region_mix"], loaded["region_world"], loaded["region"])
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    sys.path.remove(BENCH)


def test_a_mix_asks_for_the_load_that_it_was_made_for(bench: Bench) -> None:
    mix = bench.mix.Mix(seed=3, organizations=10, devices=2_000, load=0.8, tasks_per_day=40_000, gang_most=16)
    day = list(mix.day(DAY_S))
    assert [one.at_s for one in day] == sorted(one.at_s for one in day)
    assert sum(one.device_s for one in day) == pytest.approx(0.8 * 2_000 * DAY_S, rel=0.1)
    assert sum(one.spec.array_size for one in day) == pytest.approx(40_000, rel=0.1)
    noon = sum(12 <= one.at_s / 3_600 < 18 for one in day)
    night = sum(one.at_s / 3_600 < 6 for one in day)
    assert noon > 1.05 * night
    again = bench.mix.Mix(
        seed=3, organizations=10, devices=2_000, load=0.8, tasks_per_day=40_000, gang_most=16
    )
    assert list(again.day(3_600)) == [one for one in day if one.at_s < 3_600]


def test_work_ends_when_its_command_says_and_gives_its_room_back(bench: Bench, tmp_path: Path) -> None:
    world = bench.world.RegionWorld(tmp_path, 4, 2)
    try:
        world.activate("hosts")
        mix = bench.mix.Mix(seed=1, organizations=2, devices=32, load=0.5, tasks_per_day=400, gang_most=2)
        arrivals = list(mix.day(DAY_S))[:8]
        world.submit((world.organizations[one.organization], one.spec) for one in arrivals)
        world.settle()
        assert world.engine.starts > 0
        assert world.allocation() > 0
        for _ in range(20):
            world.now_us = world.engine.next_end_us() or world.now_us
            world.settle()
        assert world.engine.next_end_us() is None
        assert world.allocation() == 0
        assert world.cpu_s["placement"] > 0
    finally:
        world.close()


def test_a_short_day_of_a_small_region_is_told_as_json(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--hosts",
        "16",
        "--organizations",
        "4",
        "--hours",
        "0.2",
        "--tasks",
        "4000",
        "--step-s",
        "30",
    ]
    monkeypatch.setattr(sys, "argv", ["region.py", *arguments, "--json"])
    assert bench.region.main() == 0
    told = json.loads(capsys.readouterr().out)
    figures = {figure["name"]: figure["value"] for figure in told["figures"]}
    assert told["bench"] == "region"
    assert 0 < figures["allocation_mean"] <= 100
    assert figures["decisions"] > 0
    assert {"placement_cpu_ms_per_decision", "peak_memory_mib", "core_share", "fairness"} <= figures.keys()
