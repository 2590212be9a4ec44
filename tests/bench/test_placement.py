"""The benchmark of placement: what it reads, what its audit finds, what its bound bounds, what it prints."""

import gzip
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

BENCH = str(Path(__file__).resolve().parents[2] / "bench")
NAMES = (
    "report",
    "svg",
    "openb",
    "placement_audit",
    "placement_run",
    "lp_bound",
    "placement",
    "placement_all",
)
HOSTS = """sn,cpu_milli,memory_mib,gpu,model
b,16000,65536,2,T4
a,32000,131072,8,G2
c,8000,32768,1,P100
"""
TASKS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time
t1,2000,4096,1,1000,,LS,Running,0
t2,2000,4096,1,500,T4|P100,LS,Running,0
t3,8000,8192,4,1000,G2,LS,Running,0
t4,4000,8192,0,0,,BE,Running,0
t5,1000,2048,1,300,,LS,Running,0
"""


@dataclass
class Bench:
    """The modules of bench/, which is no package: its scripts import each other as programs do."""

    openb: ModuleType
    audit: ModuleType
    run: ModuleType
    bound: ModuleType
    placement: ModuleType
    svg: ModuleType
    every: ModuleType
    report: ModuleType


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Import them, and leave no trace of their names."""
    kept = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    sys.path.append(BENCH)
    try:
        modules = {name: importlib.import_module(name) for name in NAMES}
        yield Bench(
            modules["openb"],
            modules["placement_audit"],
            modules["placement_run"],
            modules["lp_bound"],
            modules["placement"],
            modules["svg"],
            modules["placement_all"],
            modules["report"],
        )
    finally:
        sys.path.remove(BENCH)
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    """A list of hosts, packed, and one of tasks."""
    hosts, tasks = tmp_path / "hosts.csv.gz", tmp_path / "tasks.csv"
    hosts.write_bytes(gzip.compress(HOSTS.encode()))
    tasks.write_text(TASKS)
    return hosts, tasks


def test_lists_are_read_in_order_of_name(bench: Bench, lists: tuple[Path, Path]) -> None:
    hosts = bench.openb.hosts_read(lists[0])
    assert [host.name for host in hosts] == ["a", "b", "c"]
    assert bench.openb.capacity_milli(hosts) == 11_000
    tasks = bench.openb.tasks_read(lists[1])
    assert [task.milli for task in tasks] == [1_000, 500, 4_000, 0, 300]
    assert tasks[1].models == frozenset({"T4", "P100"})
    assert [host.name for host in bench.openb.hosts_read(lists[0], 2)][:3] == ["a-000", "a-001", "b-000"]


def test_a_list_without_models_allows_any(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nt,1000,1024,1,1000\n")
    assert bench.openb.tasks_read(path)[0].models is None


def test_made_up_hosts(bench: Bench) -> None:
    hosts = bench.openb.hosts_make("3x8")
    assert len(hosts) == 3
    assert bench.openb.capacity_milli(hosts) == 24_000
    with pytest.raises(ValueError, match="HOSTSxGPUS"):
        bench.openb.hosts_make("3")


@pytest.mark.parametrize("capacity", [1_000, 11_000])
def test_arrivals_ask_for_1_3_times_the_capacity(
    bench: Bench, lists: tuple[Path, Path], capacity: int
) -> None:
    tasks = bench.openb.tasks_read(lists[1]) * 3
    arrivals = bench.openb.arrivals_make(tasks, capacity, 42)
    assert arrivals == bench.openb.arrivals_make(tasks, capacity, 42)
    assert arrivals != bench.openb.arrivals_make(tasks, capacity, 43)
    asked = sum(task.milli for task in arrivals)
    largest = max(task.milli for task in tasks)
    assert 1.3 * capacity - largest < asked < 1.3 * capacity + largest
    given = [arrivals.count(task) - tasks.count(task) for task in set(tasks)]
    assert min(given) >= 0 if asked >= 1.3 * capacity else max(given) <= 0


def test_arrivals_of_tasks_without_gpus_have_no_end(bench: Bench) -> None:
    with pytest.raises(ValueError, match="asks for a GPU"):
        bench.openb.arrivals_make([bench.openb.Task(1, 1, 0, 1_000, None)], 1_000, 42)


def test_the_audit_finds_what_is_not_allowed(bench: Bench) -> None:
    task, event = bench.openb.Task, bench.audit.Event
    hosts = [bench.openb.Host("a", 4_000, 10, 2, "T4")]
    share, whole = task(1_000, 1, 1, 600, None), task(1_000, 1, 1, 1_000, None)
    sound = [event(share, 0, (0,)), event(whole, 0, (1,)), event(whole), event(None, leaves=1)]
    assert bench.audit.audit(hosts, sound) == (2, 1)
    wrong = {
        "overfills GPU 0": [event(share, 0, (0,)), event(share, 0, (0,))],
        "lacks GPUs": [event(whole, 0, (0,)), event(whole, 0, (1,)), event(share, 0, (0,))],
        "lacks CPU": [event(task(4_001, 1, 0, 1_000, None), 0)],
        "lacks memory": [event(task(1, 11, 0, 1_000, None), 0)],
        "lacks model": [event(task(1, 1, 1, 1_000, frozenset({"A10"})), 0, (0,))],
        "has GPUs": [event(task(1, 1, 2, 1_000, None), 0, (0, 0))],
        "was refused and fits": [event(whole)],
    }
    for fault, events in wrong.items():
        with pytest.raises(bench.audit.AuditFailed, match=fault):
            bench.audit.audit(hosts, events)


def test_the_audit_looks_again_where_a_task_left(bench: Bench) -> None:
    task, event = bench.openb.Task, bench.audit.Event
    hosts = [bench.openb.Host("a", 4_000, 10, 1, "T4")]
    whole = task(1_000, 1, 1, 1_000, None)
    events = [event(whole, 0, (0,)), event(whole), event(None, leaves=0), event(whole)]
    with pytest.raises(bench.audit.AuditFailed, match="event 3"):
        bench.audit.audit(hosts, events)


def test_the_bound_knows_that_gpus_are_not_one_heap(bench: Bench) -> None:
    task, host = bench.openb.Task, bench.openb.Host
    hosts = [host("a", 8_000, 100, 2, "T4")]
    assert bench.bound.lp_bound(hosts, [task(1_000, 1, 1, 600, None)] * 3) == pytest.approx(60)
    mixed = [task(1_000, 1, 1, 600, None)] * 2 + [task(1_000, 1, 1, 400, None)] * 2
    assert bench.bound.lp_bound(hosts, mixed) == pytest.approx(100)
    assert bench.bound.lp_bound(hosts, [task(6_000, 1, 1, 1_000, None)] * 2) == pytest.approx(200 / 3)
    assert bench.bound.lp_bound(hosts, [task(1_000, 1, 1, 1_000, frozenset({"G2"}))]) == pytest.approx(0)


def test_the_bound_takes_what_has_arrived_when_all_is_asked_for(bench: Bench) -> None:
    share = bench.openb.Task(1, 1, 1, 400, None)
    assert len(bench.bound.tasks_until([share] * 9, 1_000)) == 3
    assert len(bench.bound.tasks_until([share] * 2, 1_000)) == 2


def test_it_prints_figures_and_draws_a_chart(
    bench: Bench, lists: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts, tasks = lists
    drawn = tmp_path / "chart.svg"
    options = ["--hosts", str(hosts), "--tasks", str(tasks), "--replicate", "40", "--seeds", "2"]
    assert bench.placement.main([*options, "--json", "--chart", str(drawn)]) == 0
    printed = json.loads(capsys.readouterr().out)
    figures = {figure["name"]: figure["value"] for figure in printed["figures"]}
    assert printed["seed"] == 42
    for policy in bench.placement.POLICY_NAMES:
        assert 60 < figures[f"{policy}.allocation_at_100"] <= figures["lp_bound_at_100"] + 0.5
        assert figures[f"{policy}.gap_to_lp"] == pytest.approx(
            figures["lp_bound_at_100"] - figures[f"{policy}.allocation_at_100"]
        )
        assert figures[f"{policy}.allocation_at_130"] >= figures[f"{policy}.allocation_at_95"]
        for name in ("placements_per_s", "p50_us", "p99_us", "refused", "allocation_sd_at_100"):
            assert f"{policy}.{name}" in figures
    root = ElementTree.fromstring(drawn.read_text())
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(bench.placement.POLICY_NAMES) + 1


def test_churn_is_audited_too(bench: Bench, lists: tuple[Path, Path]) -> None:
    hosts = bench.openb.hosts_read(lists[0], 3)
    tasks = bench.openb.tasks_read(lists[1])
    mean, events = bench.run.run_churn(hosts, tasks, "best_fit", 1, measured=2.0)
    placed, refused = bench.audit.audit(hosts, events)
    assert placed > 50
    assert refused > 0
    assert 50 < mean < 100
    assert any(event.leaves is not None for event in events)


def test_arguments_that_make_no_sense(
    bench: Bench, lists: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.placement.main(["--synthetic-hosts", "many", "--tasks", str(lists[1])]) == 2
    assert "HOSTSxGPUS" in capsys.readouterr().err


def test_charts_are_the_same_for_the_same_numbers(bench: Bench) -> None:
    svg = bench.svg
    axes = svg.Axis("x", 0, 10, 5), svg.Axis("y", 0, 1, 0.5)
    lines = [svg.Line("a < b", [(0, 0.1), (10, 0.9), (11, 0.9)])]
    drawn = svg.chart("title", *axes, lines)
    assert drawn == svg.chart("title", *axes, lines)
    line = ElementTree.fromstring(drawn).find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == 2


def test_the_page_is_written_from_what_was_measured(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text(f"before\n{bench.every.BEGIN}\nold\n{bench.every.END}\nafter\n")
    results.mkdir()
    figures = [bench.report.Figure("lp_bound_at_100", 97.0, "%", "higher")]
    for policy in bench.every.POLICY_NAMES:
        figures += [
            bench.report.Figure(f"{policy}.{name}", 90.125, "%", "higher")
            for name in (
                *(f"allocation_at_{load}" for load in bench.placement.LOADS),
                *("allocation_sd_at_100", "churn_allocation", "refused"),
                *("placements_per_s", "p50_us", "p99_us", "cpu_us", "cpu_p99_us"),
            )
        ]
    machine = {"cpu": "some", "cpus": 2, "python": "3.11", "load_before": 0.5}
    text = bench.report.report_json(bench.report.Report("placement", 42, tuple(figures)), machine)
    kept = [
        f"list-{name}-{policy}"
        for name in bench.placement.PUBLISHED_FGD
        for policy in bench.every.POLICY_NAMES
    ]
    kept += [f"chart-{name}" for name in bench.every.CHARTED]
    kept += [f"speed-{number}" for number in range(len(bench.every.SPEEDS))]
    for name in kept:
        (results / f"{name}.json").write_text(text)
    monkeypatch.setattr("sys.argv", ["placement_all.py", str(tmp_path), str(results), "--page", str(page)])
    assert bench.every.main() == 0
    written = page.read_text()
    assert written.startswith(f"before\n{bench.every.BEGIN}\n")
    assert written.endswith(f"{bench.every.END}\nafter\n")
    assert "old" not in written
    assert "| multigpu30 | 97.00 | 96.36 | 90.12 ± 90.12 |" in written
    assert "| `fgd` | 90.12 | 90.12 | 90.12 | 90.12 | 6.88 | 90 |" in written
