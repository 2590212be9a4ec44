"""Run the benchmark of autoscaling over all traces and cold starts, and write its page's tables and charts.

autoscale_all.py DIRECTORY-OF-THE-TRACES RESULTS [--page FILE.md] [--only-page]

RESULTS keeps a JSON file a run. A run that is there already is not repeated, so that what was interrupted can
be completed; remove the directory to measure anew. One process, about an hour.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from autoscale import SHARE, outcome_figures
from autoscale_chart import outcomes_chart, violations_chart
from autoscale_load import DAY_S, Requests, Spec, requests_load
from autoscale_model import Outcome, Service, Terms
from autoscale_page import page_write
from autoscale_policies import POLICIES, scaler_make
from autoscale_reference import layers_cut, reference_replica_s
from report import Report, machine_describe, report_json, report_parse, say

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance" / "autoscaling.md"
SEED = 1
COLD_STARTS_S = (5, 30, 120)
ASKED = (0.005, 0.02, 0.05)
FIRST_DAY = ("kumoi", "target")
CHARTED = ("kumoi", "target", "panic", "queue")
CHART_COLD_START_S, CHART_HOURS = 30, 6


@dataclass(frozen=True, slots=True)
class Workload:
    """A trace and what the service that gets it is like."""

    file: str
    step_s: float
    days: tuple[int, int] | None
    thin: float
    service: str
    slots: int
    slo_s: float
    warm_up_s: float


WORKLOADS = {
    "twitter": Workload(
        "twitter-per-second-days-00-13.txt.gz", 1, (0, 3), 1 / 8, "lognormal:2:1", 4, 2, DAY_S
    ),
    "worldcup98": Workload(
        "worldcup98-per-minute-days-00-63.txt.gz", 60, (51, 56), 1 / 60, "lognormal:2:1", 4, 2, DAY_S
    ),
    "nasa": Workload("nasa-per-second-days-00-44.txt.gz", 1, (5, 11), 1, "lognormal:5:1", 1, 2, DAY_S),
    "lora": Workload("alibaba-genai-lora-requests.csv.gz", 1, None, 1, "trace", 1, 10, 4 * DAY_S),
    "azure-conversation": Workload("azure-llm-2023-conversation.csv.gz", 1, None, 1, "llm", 4, 2, 600),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation: `asked` is for `kumoi-auto`, `first_day` has no warm-up and ends after a day."""

    workload: str
    cold_start_s: int
    policy: str
    asked: float = SHARE
    first_day: bool = False

    @property
    def name(self) -> str:
        """The name of its report."""
        asked = f"-asked-{self.asked:g}" if self.asked != SHARE else ""
        return f"{self.workload}-{self.cold_start_s}-{self.policy}{asked}{'-first-day' * self.first_day}.json"


def main() -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, help="the directory with the traces")
    parser.add_argument("results", type=Path, help="where the reports are kept")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only-page", action="store_true", help="write the page from the reports there are")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.only_page:
        machine = machine_describe()
        for run in runs_all():
            run_once(run, options.traces, options.results, machine)
        charts_write(options.traces, options.page.parent)
    done = [run for run in runs_all() if (options.results / run.name).exists()]
    figures = {Path(run.name).stem: figures_read(options.results / run.name, run.policy) for run in done}
    cells = [f"{workload}-{cold_start_s}" for workload in WORKLOADS for cold_start_s in COLD_STARTS_S]
    page_write(options.page, figures, cells)
    return 0


def runs_all() -> Iterator[Run]:
    """All runs, the most telling first."""
    cells = [(workload, cold_start_s) for workload in WORKLOADS for cold_start_s in COLD_STARTS_S]
    for policy in FIRST_DAY:
        yield from (Run(*cell, policy) for cell in cells)
    yield from (Run(*cell, policy, first_day=True) for policy in FIRST_DAY for cell in cells)
    for policy in ("kumoi-auto", "panic", "queue"):
        yield from (Run(*cell, policy) for cell in cells)
    for asked in ASKED:
        yield from (Run(*cell, "kumoi-auto", asked) for cell in cells)
    for policy in POLICIES:
        yield from (Run(*cell, policy) for cell in cells)


def run_once(run: Run, traces: Path, results: Path, machine: dict[str, object]) -> None:
    """One run, unless its report is there."""
    kept = results / run.name
    if kept.exists():
        return
    requests, terms = load(traces, run.workload, first_day=run.first_day)
    terms = replace(terms, cold_start_s=run.cold_start_s)
    outcome = Service(requests, terms).run(scaler_make(run.policy, terms, run.asked, None))
    if run.first_day:
        references = {SHARE: outcome.replica_s}
    else:
        references = {SHARE: reference_find(traces, run.workload, run.cold_start_s)}
    figures = outcome_figures(run.policy, outcome, references, requests.length_s - terms.warm_up_s)
    kept.write_text(report_json(Report("autoscale", SEED, tuple(figures)), machine))
    say(f"{kept.stem}: {outcome.replica_s / references[SHARE]:.3f} at {outcome.violation_share:.3%}")


@lru_cache(maxsize=8)
def load(traces: Path, workload: str, *, first_day: bool) -> tuple[Requests, Terms]:
    """The requests of a workload, and its terms but for the cold start."""
    shape = WORKLOADS[workload]
    spec = Spec(traces / shape.file, shape.step_s, shape.days, shape.thin, shape.service)
    requests = requests_load(spec, SEED)
    terms = Terms(shape.slots, shape.slo_s, 0.0, shape.warm_up_s)
    if not first_day:
        return requests, terms
    early = requests.arrivals < DAY_S
    length_s = min(requests.length_s, float(DAY_S))
    cut = Requests(requests.arrivals[early], requests.service[early], length_s)
    return cut, replace(terms, warm_up_s=0.0)


@lru_cache(maxsize=64)
def reference_find(traces: Path, workload: str, cold_start_s: int) -> float:
    """The replica-seconds of whoever knew the future and may skip 1 % of the requests."""
    requests, terms = load(traces, workload, first_day=False)
    count = int((requests.arrivals >= terms.warm_up_s).sum())
    layers = layers_cut(requests, terms)
    return reference_replica_s(layers, count, cold_start_s, SHARE)


def charts_write(traces: Path, directory: Path) -> None:
    """The last hours of twitter's first day under several policies, as charts."""
    requests, terms = load(traces, "twitter", first_day=True)
    terms = replace(terms, cold_start_s=CHART_COLD_START_S, warm_up_s=requests.length_s - CHART_HOURS * 3_600)
    trails: dict[str, Outcome] = {
        name: Service(requests, terms).run(scaler_make(name, terms, SHARE, None), trail=True)
        for name in CHARTED
    }
    several = f"twitter, replicas of use after {CHART_COLD_START_S} s"
    for name, outcome in trails.items():
        drawn = outcomes_chart(f"{name}: {several}", {name: outcome}, terms)
        (directory / f"autoscale-{name}.svg").write_text(drawn, "utf-8")
    drawn = violations_chart(f"Waited too long: {several}", trails, terms)
    (directory / "autoscale-violations.svg").write_text(drawn, "utf-8")


def figures_read(path: Path, policy: str) -> dict[str, float]:
    """The figures of a report by their names, without the policy's."""
    report, _ = report_parse(path.read_text())
    return {figure.name.removeprefix(f"{policy}."): figure.value for figure in report.figures}


if __name__ == "__main__":
    sys.exit(main())
