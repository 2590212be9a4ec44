"""The account of capacity: planned and there, day by day, against the criteria of the policy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from kumoi.app.capacity_plans import day_parse
from kumoi.app.plane import Plane
from kumoi.core.capacity import (
    COUNT_FROM,
    Criterion,
    Figure,
    Measure,
    Measured,
    Planned,
    Step,
    criteria_of,
    fiscal_year,
    japan_day,
    least_of,
    live_measure,
    live_series,
    planned_measure,
    planned_series,
    unmeasured_days,
)
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.capacity import (
    Capacity,
    CapacityClass,
    CapacityCriterion,
    CapacityLeast,
    CapacityMeasure,
    CapacityPlan,
    CapacitySeries,
    CapacitySource,
    CapacityStep,
)
from kumoi.model.errors import Invalid
from kumoi.store.capacity import capacity_days_list
from kumoi.store.capacity_plans import PLANS_MAX, capacity_plan_list
from kumoi.store.database import Connection
from kumoi.store.device_models import device_model_kinds, figures_all
from kumoi.store.schema import AnyRow

PERIOD_DAYS_MAX = 3_660
PERIOD_YEAR_MAX = 2_200
ROWS_MAX = 200_000
CLASSES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the account is made of."""

    plans: Sequence[CapacityPlan]
    rows: Sequence[AnyRow]
    figures: Mapping[str, Figure]
    kinds: Mapping[str, str]

    def planned(self) -> list[Planned]:
        """The plans as the account sees them."""
        return [
            Planned(
                plan.model,
                plan.count,
                date.fromisoformat(plan.service_start),
                None if plan.service_end is None else date.fromisoformat(plan.service_end),
            )
            for plan in self.plans
        ]

    def measured(self) -> list[Measured]:
        """The healthy devices of each day."""
        return [
            Measured(
                date.fromisoformat(row.day),
                row.model,
                date.fromisoformat(row.service_start),
                row.healthy,
                row.fp16_dense_gflops,
            )
            for row in self.rows
        ]


async def capacity_read(
    plane: Plane, actor: Actor, since: str | None, until: str | None, count_from: str | None
) -> Capacity:
    """The account of a period, by default the fiscal year in Japan.

    `count_from` is the first start of service that counts for the second criterion (C-16).
    """
    await plane.authorize(actor, Action.CAPACITY_READ, PLATFORM_TARGET)
    today = japan_day(plane.clock_us())
    first, last = _period(since, until, today)
    start = COUNT_FROM if count_from is None else day_parse(count_from, "count_from")
    criteria = criteria_of(start)
    if start > criteria[1].due:
        raise Invalid(
            "count_from_late",
            "nothing that starts after {due} counts; give an earlier day",
            at="count_from",
            due=criteria[1].due.isoformat(),
        )
    facts = await plane.store.read(_facts_load, first, min(last, today))
    planned, measured = facts.planned(), facts.measured()
    classes = sorted(_classes(facts, last), key=lambda one: (one.source, -one.gflops, one.site, one.model))
    return Capacity(
        since=first.isoformat(),
        until=last.isoformat(),
        today=today.isoformat(),
        count_from=start.isoformat(),
        planned=_series(planned_series(planned, facts.figures, first, last)),
        live=_series(_live_steps(measured, facts.figures, first, min(last, today))),
        criteria=tuple(
            _criterion(
                criterion,
                planned_measure(criterion, planned, facts.figures, first, last),
                live_measure(criterion, measured, facts.figures, first, last, today),
            )
            for criterion in criteria
        ),
        classes=tuple(classes[:CLASSES_MAX]),
        classes_left_out=max(len(classes) - CLASSES_MAX, 0),
    )


def _period(since: str | None, until: str | None, today: date) -> tuple[date, date]:
    year = fiscal_year(today)
    first = year[0] if since is None else day_parse(since, "from")
    last = max(year[1], first) if until is None else day_parse(until, "to")
    if last < first:
        raise Invalid(
            "period_empty",
            "the period ends at {until}, before it begins at {since}; exchange them, or give both",
            at="to",
            since=first.isoformat(),
            until=last.isoformat(),
        )
    if last.year > PERIOD_YEAR_MAX:
        raise Invalid(
            "period_late",
            "a period ends in the year {year} at the latest; give an earlier day",
            at="from" if until is None else "to",
            year=PERIOD_YEAR_MAX,
        )
    if (last - first).days >= PERIOD_DAYS_MAX:
        raise Invalid(
            "period_too_long",
            "a period has at most {days} days; ask for several",
            at="from",
            days=PERIOD_DAYS_MAX,
        )
    return first, last


def _facts_load(connection: Connection, since: date, until: date) -> _Facts:
    rows = capacity_days_list(connection, since, until, ROWS_MAX + 1)
    if len(rows) > ROWS_MAX:
        raise Invalid(
            "period_too_full",
            "the period has more than {rows} rows of devices by day; ask for several shorter ones",
            at="from",
            rows=ROWS_MAX,
        )
    plans = capacity_plan_list(connection, PLANS_MAX, None)
    return _Facts(plans, rows, figures_all(connection), device_model_kinds(connection))


def _live_steps(
    measured: Sequence[Measured], figures: Mapping[str, Figure], since: date, until: date
) -> tuple[Step, ...]:
    return live_series(measured, figures, since, until) if since <= until else ()


def _classes(facts: _Facts, until: date) -> Iterable[CapacityClass]:
    """The plans, and the devices of the last day measured."""
    unknown = Figure(0, attested=False)
    for plan in facts.plans:
        figure = facts.figures.get(plan.model, unknown)
        yield CapacityClass(
            source=CapacitySource.PLANNED,
            site=plan.site,
            kind=facts.kinds.get(plan.model, ""),
            model=plan.model,
            service_start=plan.service_start,
            service_end=plan.service_end,
            count=plan.count,
            healthy=plan.count,
            fp16_dense_gflops=figure.gflops,
            gflops=figure.peak(plan.count).total,
            attested=figure.attested,
        )
    last = facts.rows[-1].day if facts.rows else until.isoformat()
    for row in facts.rows:
        if row.day == last:
            figure = facts.figures.get(row.model, unknown)
            yield CapacityClass(
                source=CapacitySource.LIVE,
                site=row.site_id,
                kind=facts.kinds.get(row.model, ""),
                model=row.model,
                service_start=row.service_start,
                service_end=None,
                count=row._mapping["count"],
                healthy=row.healthy,
                fp16_dense_gflops=figure.gflops,
                gflops=figure.peak(row.healthy).total,
                attested=figure.attested,
            )


def _series(steps: Sequence[Step]) -> CapacitySeries:
    return CapacitySeries(
        steps=tuple(
            CapacityStep(
                since=step.since.isoformat(),
                until=step.until.isoformat(),
                attested_gflops=None if step.peak is None else step.peak.attested,
                unattested_gflops=None if step.peak is None else step.peak.unattested,
            )
            for step in steps
        ),
        least=_least(least_of(steps)),
        unmeasured_days=unmeasured_days(steps),
    )


def _criterion(criterion: Criterion, planned: Measure, live: Measure) -> CapacityCriterion:
    return CapacityCriterion(
        number=criterion.number,
        threshold_gflops=criterion.threshold_gflops,
        start_since=None if criterion.start_since is None else criterion.start_since.isoformat(),
        due=criterion.due.isoformat(),
        planned=_measure(planned),
        live=_measure(live),
    )


def _measure(measure: Measure) -> CapacityMeasure:
    return CapacityMeasure(
        at=_least(measure.at),
        least=_least(measure.least),
        unmeasured_days=measure.unmeasured_days,
        finding=measure.finding,
    )


def _least(step: Step | None) -> CapacityLeast | None:
    if step is None or step.peak is None:
        return None
    return CapacityLeast(step.since.isoformat(), step.peak.attested, step.peak.unattested)
