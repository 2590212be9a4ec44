"""The account of capacity: exact sums, no day forgotten, nothing counted twice, and the two criteria."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.capacity import (
    COUNT_FROM,
    Criterion,
    Figure,
    Measured,
    Peak,
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
from kumoi.core.devices import CATALOGUE
from kumoi.model.capacity import Finding, eflops_format
from kumoi.model.time import time_parse

DAY = timedelta(days=1)
FIRST, SECOND = criteria_of()
H200 = {"H200": Figure(CATALOGUE["H200"].fp16_dense_gflops, attested=True)}
UNATTESTED = {"H200": Figure(989_400, attested=False)}
START = date(2026, 4, 1)

days = st.integers(0, 60).map(lambda offset: START + offset * DAY)
models = st.sampled_from(["H200", "B200", "X1"])
figures = st.dictionaries(models, st.builds(Figure, st.integers(0, 10**7), st.booleans()))
plans = st.lists(
    st.builds(Planned, models, st.integers(1, 9_999), days, st.none() | days),
    max_size=8,
)
measured = st.lists(
    st.builds(Measured, days, models, days, st.integers(0, 9_999), st.integers(0, 10**7)), max_size=20
)


def whole(steps: Sequence[Step]) -> dict[date, Peak | None]:
    """The series day by day; no two steps may speak of one day."""
    found: dict[date, Peak | None] = {}
    for step in steps:
        for offset in range(step.days):
            day = step.since + offset * DAY
            assert day not in found
            found[day] = step.peak
    return found


def plan(count: int, start: str, end: str | None = None) -> Planned:
    return Planned("H200", count, date.fromisoformat(start), None if end is None else date.fromisoformat(end))


def rows(since: str, until: str, count: int, start: str = "2025-04-01", **more: Any) -> list[Measured]:
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    return [
        Measured(first + offset * DAY, "H200", date.fromisoformat(start), count, more.get("gflops", 989_400))
        for offset in range((last - first).days + 1)
    ]


def span(since: str, until: str) -> tuple[date, date]:
    return date.fromisoformat(since), date.fromisoformat(until)


def test_the_known_totals_are_exact() -> None:
    assert H200["H200"].peak(768) == Peak(759_859_200)
    assert eflops_format(759_859_200) == "0.76"
    assert eflops_format(759_859_200, digits=7) == "0.7598592"
    assert H200["H200"].peak(7_581) == Peak(7_500_641_400)
    assert eflops_format(7_500_641_400, digits=7) == "7.5006414"
    assert FIRST.finding(H200["H200"].peak(759)) is Finding.MET
    assert FIRST.finding(H200["H200"].peak(758)) is Finding.UNMET
    assert SECOND.finding(H200["H200"].peak(7_581)) is Finding.MET
    assert SECOND.finding(H200["H200"].peak(7_580)) is Finding.UNMET


@given(st.integers(0, 10**13), st.integers(0, 9))
def test_printed_figures_are_near_and_never_hide_a_shortfall(gflops: int, digits: int) -> None:
    text = eflops_format(gflops, digits=digits or 1)
    whole_part, part = text.split(".")
    assert len(part) == (digits or 1)
    shown = int(whole_part + part) * 10 ** (9 - len(part))
    assert abs(shown - gflops) * 2 <= 10 ** (9 - len(part))
    for threshold in (750_000_000, 7_500_000_000):
        careful = eflops_format(gflops, threshold).replace(".", "")
        decimals = len(eflops_format(gflops, threshold).partition(".")[2])
        if gflops < threshold:
            assert int(careful) * 10 ** (9 - decimals) < threshold


def test_what_is_just_short_is_printed_short() -> None:
    assert eflops_format(749_999_999, 750_000_000) == "0.749999999"
    assert eflops_format(7_499_652_000, 7_500_000_000) == "7.4997"
    assert eflops_format(750_000_000, 750_000_000) == "0.75"


@given(plans, figures, days, days)
def test_a_plan_counts_on_every_day_of_its_service_and_on_no_other(
    given_plans: list[Planned], known: dict[str, Figure], one: date, two: date
) -> None:
    since, until = sorted((one, two))
    series = whole(planned_series(given_plans, known, since, until))
    assert list(series) == [since + offset * DAY for offset in range((until - since).days + 1)]
    for day, peak in series.items():
        expected = Peak()
        for planned in given_plans:
            if planned.start <= day and (planned.end is None or planned.end >= day):
                expected += known.get(planned.model, Figure(0, attested=True)).peak(planned.count)
        assert peak == expected


@given(measured, figures, days, days)
def test_what_was_measured_counts_once_and_never_beyond_either_figure(
    seen: list[Measured], known: dict[str, Figure], one: date, two: date
) -> None:
    since, until = sorted((one, two))
    series = whole(live_series(seen, known, since, until))
    for day, peak in series.items():
        of_day = [row for row in seen if row.day == day]
        assert (peak is None) is (not of_day)
        if peak is not None:
            now = sum(known[row.model].gflops * row.count for row in of_day if row.model in known)
            assert peak.total <= now
            then = sum(row.gflops * row.count for row in of_day if row.gflops and row.model in known)
            unknown_then = sum(
                known[row.model].gflops * row.count for row in of_day if not row.gflops and row.model in known
            )
            assert peak.total <= then + unknown_then


@given(plans, figures, days, days)
def test_the_least_is_on_a_day_of_the_period_and_nothing_is_less(
    given_plans: list[Planned], known: dict[str, Figure], one: date, two: date
) -> None:
    since, until = sorted((one, two))
    steps = planned_series(given_plans, known, since, until)
    least = least_of(steps)
    assert least is not None
    assert least.peak is not None
    totals = {day: peak.total for day, peak in whole(steps).items() if peak is not None}
    assert least.peak.total == min(totals.values())
    assert totals[least.since] == least.peak.total
    assert since <= least.since <= until
    assert unmeasured_days(steps) == 0


@given(plans, figures, days, st.integers(1, 8))
def test_splitting_a_plan_changes_nothing(
    given_plans: list[Planned], known: dict[str, Figure], since: date, parts: int
) -> None:
    split = [
        Planned(planned.model, share, planned.start, planned.end)
        for planned in given_plans
        for share in _shares(planned.count, parts)
    ]
    until = since + 30 * DAY
    assert planned_series(split, known, since, until) == planned_series(given_plans, known, since, until)


def _shares(count: int, parts: int) -> list[int]:
    each = count // parts
    return [share for share in (*[each] * (parts - 1), count - each * (parts - 1)) if share]


def test_the_criteria_are_those_of_the_policy() -> None:
    assert Criterion(1, 750_000_000, None, date(2025, 9, 30)) == FIRST
    assert Criterion(2, 7_500_000_000, COUNT_FROM, date(2028, 3, 31)) == SECOND
    assert [FIRST.counts(day) for day in span("2025-09-30", "2025-10-01")] == [True, False]
    assert [SECOND.counts(day) for day in span("2025-09-30", "2025-10-01")] == [False, True]
    assert [SECOND.counts(day) for day in span("2028-03-31", "2028-04-01")] == [True, False]
    assert criteria_of(date(2023, 4, 1))[1].counts(date(2024, 1, 1))


def test_days_are_those_of_japan() -> None:
    assert japan_day(time_parse("2025-09-30T14:59:59Z")) == date(2025, 9, 30)
    assert japan_day(time_parse("2025-09-30T15:00:00Z")) == date(2025, 10, 1)
    assert fiscal_year(date(2026, 3, 31)) == span("2025-04-01", "2026-03-31")
    assert fiscal_year(date(2026, 4, 1)) == span("2026-04-01", "2027-03-31")


PERIOD = span("2025-04-01", "2029-03-31")


@pytest.mark.parametrize(
    ("plans_given", "figures_given", "first", "second"),
    [
        ([plan(768, "2025-09-30")], H200, Finding.MET, Finding.UNMET),
        ([plan(768, "2025-10-01")], H200, Finding.UNMET, Finding.UNMET),
        ([plan(768, "2025-04-01", "2028-12-31")], H200, Finding.UNMET, Finding.UNMET),
        ([plan(768, "2025-04-01")], UNATTESTED, Finding.UNCLEAR, Finding.UNMET),
        ([plan(700, "2025-04-01"), plan(59, "2025-09-01")], H200, Finding.MET, Finding.UNMET),
        ([plan(7_581, "2028-03-31")], H200, Finding.UNMET, Finding.MET),
        ([plan(7_581, "2028-04-01")], H200, Finding.UNMET, Finding.UNMET),
        ([plan(4_000, "2026-01-01"), plan(3_581, "2027-01-01")], H200, Finding.UNMET, Finding.MET),
        ([plan(7_581, "2026-01-01", "2028-03-30")], H200, Finding.UNMET, Finding.UNMET),
        ([plan(768, "2025-04-01"), plan(6_813, "2026-01-01")], H200, Finding.MET, Finding.UNMET),
        ([], H200, Finding.UNMET, Finding.UNMET),
    ],
)
def test_plans_against_the_criteria(
    plans_given: list[Planned], figures_given: dict[str, Figure], first: Finding, second: Finding
) -> None:
    found = [planned_measure(criterion, plans_given, figures_given, *PERIOD) for criterion in criteria_of()]
    assert [measure.finding for measure in found] == [first, second]


def test_what_started_earlier_counts_for_the_second_one_if_it_is_read_widely() -> None:
    both = [plan(768, "2025-04-01"), plan(6_813, "2026-01-01")]
    _, wide = criteria_of(date(2025, 1, 1))
    assert planned_measure(wide, both, H200, *PERIOD).finding is Finding.MET


def test_a_plan_is_measured_when_it_is_due_even_outside_the_period() -> None:
    measure = planned_measure(SECOND, [plan(7_581, "2027-01-01")], H200, *span("2026-04-01", "2027-03-31"))
    assert measure.at is not None
    assert (measure.at.since, measure.at.peak) == (date(2028, 3, 31), Peak(7_500_641_400))
    assert (measure.least, measure.finding) == (None, Finding.MET)


YEAR = span("2026-04-01", "2027-03-31")
TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("seen", "finding", "missing"),
    [
        (rows("2026-04-01", "2026-11-23", 768), Finding.MET, 0),
        (rows("2026-04-01", "2026-11-22", 768), Finding.MET, 0),
        (rows("2026-04-01", "2026-11-21", 768), Finding.UNCLEAR, 1),
        (rows("2026-04-01", "2026-11-23", 758), Finding.UNMET, 0),
        (rows("2026-04-01", "2026-11-23", 768, gflops=900_000), Finding.UNMET, 0),
        (rows("2026-04-01", "2026-11-23", 768, gflops=0), Finding.MET, 0),
        (rows("2026-04-01", "2026-11-23", 768, start="2025-10-01"), Finding.UNMET, 0),
        ([], Finding.UNCLEAR, 236),
    ],
)
def test_what_was_there_against_the_first_criterion(
    seen: list[Measured], finding: Finding, missing: int
) -> None:
    measure = live_measure(FIRST, seen, H200, *YEAR, TODAY)
    assert (measure.finding, measure.unmeasured_days) == (finding, missing)


def test_one_day_below_is_enough_to_miss_it_and_is_named() -> None:
    seen = [
        *rows("2026-04-01", "2026-08-09", 768),
        *rows("2026-08-10", "2026-08-11", 751),
        *rows("2026-08-12", "2026-11-23", 768),
    ]
    measure = live_measure(FIRST, seen, H200, *YEAR, TODAY)
    assert measure.finding is Finding.UNMET
    assert measure.least == Step(date(2026, 8, 10), date(2026, 8, 11), Peak(751 * 989_400))
    assert measure.at == Step(TODAY, TODAY, Peak(768 * 989_400))


def test_the_second_criterion_is_open_until_it_is_due() -> None:
    seen = rows("2026-04-01", "2026-11-23", 3_000, start="2026-04-01")
    measure = live_measure(SECOND, seen, H200, *YEAR, TODAY)
    assert (measure.finding, measure.least) == (Finding.OPEN, None)
    assert measure.at is not None
    assert measure.at.peak == Peak(3_000 * 989_400)


def test_a_period_in_the_future_is_open() -> None:
    measure = live_measure(FIRST, [], H200, *span("2027-04-01", "2028-03-31"), TODAY)
    assert (measure.finding, measure.at) == (Finding.OPEN, None)


def test_much_without_a_datasheet_does_not_hide_little_with_one() -> None:
    mixed = {**H200, "B200": Figure(2_250_000, attested=False)}
    seen = [Measured(date(2026, 4, 1), "B200", date(2025, 4, 1), 1_000, 2_250_000)]
    seen += rows("2026-04-02", "2026-04-02", 10)
    measure = live_measure(FIRST, seen, mixed, *span("2026-04-01", "2026-04-02"), TODAY)
    assert measure.finding is Finding.UNMET
