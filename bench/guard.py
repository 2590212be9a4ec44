"""What the guard costs: decisions a second on one core, and what part of a submission it and the log are.

Decisions are asked of the guard as a request asks it, in this process. Rates are of one core's time, which a
busy neighbour lengthens less than a clock's. A question is new if it was never asked: its resource never was,
and its actor neither where the figure says so. A submission goes through the application into a store of its
own (SQLite, on disk before the answer), HTTP left out, so the shares are rather too high than too low.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from ledger import append_rate
from report import Figure, Report, arguments_make, machine_describe, report_print, say

from kumoi.app import jobs
from kumoi.app.organizations import organization_create
from kumoi.app.plane import Plane
from kumoi.app.projects import project_create
from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
from kumoi.main.wiring import plane_build
from kumoi.model.access import (
    Action,
    Actor,
    Grant,
    OrganizationCreate,
    PrincipalKind,
    ProjectCreate,
    ResourceKind,
    Role,
    ScopeKind,
    Target,
    TokenScope,
)
from kumoi.model.jobs import JobSpec
from kumoi.model.settings import Settings
from kumoi.store.events import event_row

ROUNDS = 5
KNOWN_ACTORS = 200
POPULAR_RESOURCES = 1_000
REFUSED_SHARE = 0.05
NEEDED_DECISIONS_PER_S = 8_000
CLIENTS = 8
ORGANIZATIONS = 50
PROJECTS = 200
# What is asked about jobs, each as often as it is named.
_ASKED = (Action.JOB_CREATE, Action.JOB_READ, Action.JOB_READ, Action.JOB_LIST, Action.JOB_CANCEL)
_ON_PROJECT = frozenset({Action.JOB_CREATE, Action.JOB_LIST})

Question = tuple[Actor, Action, Target]


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--decisions", type=int, default=20_000, help="questions a round")
    parser.add_argument("--submissions", type=int, default=4_000, help="jobs that are submitted")
    options = parser.parse_args()
    machine = machine_describe()
    say("deciding, on one core")
    with one_core():
        figures = list(decision_figures(random.Random(options.seed), options.decisions))
    say(f"submitting {options.submissions} jobs")
    with tempfile.TemporaryDirectory(prefix="kumoi-bench-guard-") as place:
        figures += share_figures(Path(place), options.submissions)
    report_print(Report("guard", options.seed, tuple(figures)), machine, as_json=options.json)
    return 0


@contextmanager
def one_core() -> Iterator[None]:
    """Only one core, so that no thread of a library helps."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


def actor_make(number: int, rng: random.Random) -> Actor:
    """A member of one to three projects of its organization."""
    organization = number % ORGANIZATIONS
    own = range(organization, PROJECTS, ORGANIZATIONS)
    grants = tuple(
        Grant(Role.MEMBER, ScopeKind.PROJECT, f"prj_{project}")
        for project in rng.sample(own, rng.randint(1, 3))
    )
    scopes = frozenset({TokenScope.ALL})
    return Actor(f"usr_{number}", PrincipalKind.USER, f"org_{organization}", grants, f"tok_{number}", scopes)


def question(actor: Actor, number: int, rng: random.Random) -> Question:
    """Something about one job, or in one of 20 cases about one of another organization."""
    action = rng.choice(_ASKED)
    project = rng.choice(actor.grants).scope_id
    organization = actor.organization_id if rng.random() > REFUSED_SHARE else "org_other"
    if action in _ON_PROJECT:
        return actor, action, Target(ResourceKind.PROJECT, f"{project}x{number}", organization)
    return actor, action, Target(ResourceKind.JOB, f"job_{number}", organization, project)


def decision_figures(rng: random.Random, count: int) -> Iterator[Figure]:
    """Rates of decisions: all new; new by actors that are known; as a plane is asked."""
    known = [actor_make(number, rng) for number in range(KNOWN_ACTORS)]

    def strangers(begun: int) -> list[Question]:
        return [question(actor_make(begun + n, rng), begun + n, rng) for n in range(count)]

    def new(begun: int) -> list[Question]:
        return [question(rng.choice(known), begun + n, rng) for n in range(count)]

    popular = [question(rng.choice(known), n, rng) for n in range(POPULAR_RESOURCES)]

    def traffic(_begun: int) -> list[Question]:
        return [rng.choice(popular) for _ in range(count)]

    for name, questions, goal in (
        ("decisions_per_s", new, NEEDED_DECISIONS_PER_S),
        ("decisions_per_s_new_actors", strangers, None),
        ("decisions_per_s_traffic", traffic, None),
    ):
        yield Figure(name, decision_rate(questions, count), "1/s", "higher", goal)


def decision_rate(questions: Callable[[int], Sequence[Question]], count: int) -> float:
    """The median rate of ROUNDS rounds, each of a guard that was asked nothing before."""
    rates = []
    for number in range(ROUNDS):
        guard = Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), "org_provider")
        asked = questions(number * count)
        begun = time.thread_time()
        for actor, action, target in asked:
            guard.decide(actor, action, target)
        rates.append(count / (time.thread_time() - begun))
    return median(rates)


@dataclass
class Timed:
    """A function that adds up the processor time that it took."""

    function: Callable[..., Any]
    taken_s: float = 0.0
    calls: int = 0

    def __call__(self, *values: Any, **named: Any) -> Any:
        begun = time.thread_time()
        try:
            return self.function(*values, **named)
        finally:
            self.taken_s += time.thread_time() - begun
            self.calls += 1


def share_figures(place: Path, count: int) -> Iterator[Figure]:
    """Microseconds of one submission, and what the guard and the log are of it."""
    plane, _runner = plane_build(Settings(data_dir=place / "data", gateway=False, volume_encryption=False))
    try:
        deciding, telling = Timed(plane.guard.decide), Timed(event_row)
        with patch.object(plane.guard, "decide", deciding), patch.object(jobs, "event_row", telling):
            taken_s = asyncio.run(submissions(plane, place / "data", count, (deciding, telling)))
    finally:
        plane.store.close()
    new_us = 1e6 / decision_rate(lambda begun: cold(begun, count), count)
    append_us = 1e6 / append_rate(place)
    submission_us = taken_s / count * 1e6
    told_us = telling.taken_s / telling.calls * 1e6 + append_us
    decided_us = deciding.taken_s / count * 1e6
    yield Figure("submission_us", submission_us, "us", "lower")
    yield Figure("guard_us", decided_us, "us", "lower")
    yield Figure("guard_share", decided_us / submission_us, "1", "lower")
    yield Figure("guard_share_new", new_us / (submission_us - decided_us + new_us), "1", "lower")
    yield Figure("log_us", told_us, "us", "lower")
    yield Figure("log_share", told_us / (submission_us + append_us), "1", "lower")


def cold(begun: int, count: int) -> list[Question]:
    """New questions of one actor."""
    rng = random.Random(begun)
    actor = actor_make(1, rng)
    return [question(actor, begun + n, rng) for n in range(count)]


async def submissions(plane: Plane, data: Path, count: int, timed: Sequence[Timed]) -> float:
    """Processor seconds of `count` submissions, CLIENTS at a time, in every thread of the process."""
    operator = await plane.authenticate((data / "admin.token").read_text().strip())
    made = await organization_create(plane, operator, OrganizationCreate(name="bench"), None)
    token = made_read(made.body)["admin_token"]
    actor = await plane.authenticate(token)
    created = await project_create(plane, actor, actor.organization_id, ProjectCreate(name="bench"), None)
    project = made_read(created.body)["id"]

    async def client(numbers: range) -> None:
        for number in numbers:
            holder = await plane.authenticate(token)
            spec = JobSpec(name=f"job-{number}", command=("true",))
            await jobs.job_create(plane, holder, project, spec, None)

    await client(range(CLIENTS))
    for one in timed:
        one.taken_s, one.calls = 0.0, 0
    begun = time.process_time()
    await asyncio.gather(*(client(range(first, count, CLIENTS)) for first in range(CLIENTS)))
    return time.process_time() - begun


def made_read(body: bytes) -> dict[str, Any]:
    """The JSON of an answer."""
    return dict(json.loads(body))


if __name__ == "__main__":
    sys.exit(main())
