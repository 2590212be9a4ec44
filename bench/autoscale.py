"""Compare autoscalers of replicas on one trace: what they cost, and how many requests waited too long.

autoscale.py --arrivals FILE --step SECONDS [--days A-B] [--thin P] --service SPEC --slots C --slo X
             --cold-start L [--warm-up S] [--policy P ...] [--violation-target V] [--min N] [--json]
             [--chart FILE.svg]

SPEC is lognormal:MEAN:CV, trace (a service-time column) or llm. Costs are replica-seconds over those of a
planner that knows the future and may skip 1 % of the requests (`autoscale_reference`). The decisions are the
product's own.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from autoscale_chart import outcomes_chart
from autoscale_load import Requests, Spec, requests_load
from autoscale_model import Outcome, Service, Terms
from autoscale_policies import POLICIES, scaler_make
from autoscale_reference import layers_cut, reference_replica_s
from report import Figure, Report, arguments_make, machine_describe, report_print, say

SHARE = 0.01
SHARES = (0.05, SHARE, 0.001)
ERLANG_RATE, ERLANG_SLOTS, ERLANG_REQUESTS, ERLANG_CLOSE = 8.0, (9, 10, 12), 400_000, 0.15


def main() -> int:
    """Run every policy; 1 if the model fails its own test."""
    options = _arguments()
    machine = machine_describe()
    first, _, last = (options.days or "").partition("-")
    days = (int(first), int(last or first)) if options.days else None
    requests = requests_load(
        Spec(options.arrivals, options.step, days, options.thin, options.service), options.seed
    )
    terms = Terms(options.slots, options.slo, options.cold_start, options.warm_up)
    figures = list(erlang_check(options.seed))
    layers = layers_cut(requests, terms)
    count = int((requests.arrivals >= terms.warm_up_s).sum())
    references = {share: reference_replica_s(layers, count, terms.cold_start_s, share) for share in SHARES}
    figures += [
        Figure(f"reference.replica_hours_{share:g}", value / 3_600, "h", "lower")
        for share, value in references.items()
    ]
    del layers
    trails: dict[str, Outcome] = {}
    for name in options.policy or POLICIES:
        outcome = policy_run(name, requests, terms, options)
        trails[name] = outcome
        figures += outcome_figures(name, outcome, references, requests.length_s - terms.warm_up_s)
        say(f"{name}: {outcome.replica_s / references[SHARE]:.3f} at {outcome.violation_share:.3%}")
    if options.chart:
        options.chart.write_text(outcomes_chart(options.chart_title, trails, terms), "utf-8")
    report_print(Report("autoscale", options.seed, tuple(figures)), machine, as_json=options.json)
    wrong = [figure.name for figure in figures if figure.name.startswith("erlang") and not figure.reached]
    if wrong:
        say(f"the model is wrong: {', '.join(wrong)}")
    return 1 if wrong else 0


def policy_run(name: str, requests: Requests, terms: Terms, options: argparse.Namespace) -> Outcome:
    """One policy over the whole trace."""
    scaler = scaler_make(name, terms, options.violation_target, options.min)
    return Service(requests, terms).run(scaler, trail=options.chart is not None)


def outcome_figures(
    name: str, outcome: Outcome, references: dict[float, float], length_s: float
) -> list[Figure]:
    """The figures of one policy."""
    return [
        Figure(f"{name}.cost_over_reference", outcome.replica_s / references[SHARE], "", "lower"),
        *(
            Figure(f"{name}.cost_over_reference_{share:g}", outcome.replica_s / value, "", "lower")
            for share, value in references.items()
            if share != SHARE
        ),
        Figure(f"{name}.violations", outcome.violation_share, "", "lower"),
        Figure(f"{name}.starts_per_hour", outcome.starts / length_s * 3_600, "1/h", "lower"),
        Figure(f"{name}.mean_wait", outcome.wait_s / max(1, outcome.requests), "s", "lower"),
        Figure(f"{name}.replica_hours", outcome.replica_s / 3_600, "h", "lower"),
    ]


def erlang_check(seed: int) -> Sequence[Figure]:
    """How far the model's mean waits with fixed slots and a service of 1 s are off Erlang's, as a share."""
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / ERLANG_RATE, ERLANG_REQUESTS))
    requests = Requests(arrivals, random.exponential(1.0, ERLANG_REQUESTS), float(arrivals[-1]))
    figures = []
    for slots in ERLANG_SLOTS:
        outcome = Service(requests, Terms(slots, 2.0, 0.0)).run(lambda _: 1)
        off = abs(outcome.wait_s / outcome.requests / erlang_wait_s(slots, ERLANG_RATE) - 1)
        figures.append(Figure(f"erlang.off_{slots}_slots", off, "", "lower", goal=ERLANG_CLOSE))
    return figures


def erlang_wait_s(slots: int, erlangs: float) -> float:
    """The mean wait of M/M/c with a mean service of 1 s, by Erlang's C formula (1917)."""
    terms = [1.0]
    for number in range(1, slots + 1):
        terms.append(terms[-1] * erlangs / number)
    queued = terms[-1] * slots / (slots - erlangs)
    return queued / (sum(terms[:-1]) + queued) / (slots - erlangs)


def _arguments() -> argparse.Namespace:
    parser = arguments_make(str(__doc__))
    parser.add_argument("--arrivals", type=Path, required=True, help="counts, one a line, or requests as CSV")
    parser.add_argument("--step", type=float, default=1.0, help="seconds of one count")
    parser.add_argument("--days", help="the first and the last day that is used, as A-B; all by default")
    parser.add_argument("--thin", type=float, default=1.0, help="the share of requests that is kept")
    parser.add_argument("--service", required=True, help="lognormal:MEAN:CV, trace or llm")
    parser.add_argument("--slots", type=int, required=True, help="requests that a replica serves at once")
    parser.add_argument("--slo", type=float, required=True, help="seconds that a request may wait")
    parser.add_argument("--cold-start", type=float, required=True, help="seconds until a replica is of use")
    parser.add_argument("--warm-up", type=float, default=0.0, help="seconds that are not counted")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="may be repeated")
    parser.add_argument("--violation-target", type=float, default=SHARE, help="asked of kumoi-auto, a share")
    parser.add_argument("--min", type=int, help="replicas always kept; by default what each is known for")
    parser.add_argument("--chart", type=Path, help="write what happened over time as SVG")
    parser.add_argument("--chart-title", default="Requests, replicas and violations over time")
    options = parser.parse_args()
    if options.step <= 0 or not 0 < options.thin <= 1 or options.slots < 1 or options.cold_start < 0:
        parser.error("--step and --slots must be above 0, --thin in (0, 1], --cold-start at least 0")
    if not 0 < options.violation_target < 1 or not math.isfinite(options.slo):
        parser.error("--violation-target must be in (0, 1)")
    return options


if __name__ == "__main__":
    sys.exit(main())
