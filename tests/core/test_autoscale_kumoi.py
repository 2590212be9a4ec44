"""The default policy: zero, first minutes, learned margins, clocks, the share that was asked for."""

from math import ceil

from autoscale_fluid import SECOND_US, Fluid
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.autoscale.decide import decide, scaler_new
from kumoi.core.autoscale.forecasts import BIN_US, Signal, forecasts_make, signal_follow
from kumoi.core.autoscale.inputs import ScaleRules, Seen
from kumoi.core.autoscale.margins import (
    FORECASTS,
    LEVELS,
    LOSSES_START,
    MARGINS_START,
    margins_learn,
    slots_needed,
)
from kumoi.core.autoscale.memory import KumoiMemory


def test_a_service_that_starts_fast_goes_to_zero_and_wakes() -> None:
    service = Fluid(ScaleRules("kumoi", 0, 6, slo_wait_ms=3_000), cold_start_s=1)
    assert all(decision.wanted >= 1 for decision in service.run([1] * 20))
    assert service.run([0] * 30)[-1].wanted == 0
    assert service.look(3).wanted >= 1


def test_a_young_service_that_starts_slowly_keeps_a_replica() -> None:
    service = Fluid(ScaleRules("kumoi", 0, 6, slo_wait_ms=1_000), cold_start_s=60)
    assert all(decision.wanted >= 1 for decision in service.run([1] * 5 + [0] * 1_200))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_in_its_first_minutes_a_service_gets_what_a_target_of_080_asks_for(
    stretches: list[tuple[int, int]],
) -> None:
    service = Fluid(ScaleRules("kumoi", 1, 1_000, slots=2), cold_start_s=30)
    for count in [count for count, length_s in stretches for _ in range(length_s)]:
        decision = service.look(count)
        seen = service.inputs[-1].seen
        assert decision.wanted >= ceil(((seen.busy + seen.waiting) / 0.8 - 0.1) / 2)


def test_margins_follow_the_quantile_of_the_errors() -> None:
    margins, losses = MARGINS_START, LOSSES_START
    for number in range(60_000):
        demand = 10.0 + number % 10
        margins, losses = margins_learn(margins, losses, (10.0,) * FORECASTS, demand, 0.9, SECOND_US)
    level = 4
    assert abs(margins[level] * (10.25**0.5) - 9) < 1.1
    assert margins[0] == MARGINS_START[0]
    assert margins[LEVELS + level] == margins[level]


@given(
    st.lists(st.floats(-3, 8), min_size=LEVELS, max_size=LEVELS),
    st.floats(0, 300),
    st.floats(0, 50),
    st.floats(-6, 12),
)
def test_slots_rise_with_the_forecast(
    margins: list[float], forecast: float, more: float, offset: float
) -> None:
    assert slots_needed(margins, forecast + more, offset) >= slots_needed(margins, forecast, offset) - 1e-9


def test_a_burst_of_every_two_hours_is_met_before_it_begins() -> None:
    burst_us, period_us, ahead_us = 600 * SECOND_US, 7_200 * SECOND_US, 120 * SECOND_US
    signal: Signal | None = None
    step_us = BIN_US // 3
    ahead = behind = 0.0
    for at_us in range(0, 2 * period_us, step_us):
        phase_us = at_us % period_us
        demand = 50.0 if 3_600 * SECOND_US <= phase_us < 3_600 * SECOND_US + burst_us else 10.0
        signal = signal_follow(signal, demand, at_us + SECOND_US, step_us, ahead_us)
        if at_us >= period_us and phase_us == 3_600 * SECOND_US - ahead_us + BIN_US:
            ahead = max(forecasts_make(demand, signal))
        if at_us >= period_us and phase_us == 3_600 * SECOND_US - 2 * period_us // 8:
            behind = max(forecasts_make(demand, signal))
    assert ahead > 40
    assert behind < 20


def test_looks_that_were_missed_leave_no_burst_behind() -> None:
    signal = signal_follow(None, 4.0, SECOND_US, SECOND_US, 0)
    signal = signal_follow(signal, 4.0, 2 * SECOND_US, SECOND_US, 0)
    signal = signal_follow(signal, 4.0, 86_400 * SECOND_US, 86_398 * SECOND_US, 0)
    assert set(signal.history) == {400}
    assert signal.gains == (0.0, 0.0)


def offset_after(rules: ScaleRules, violations: int) -> float:
    state = scaler_new("kumoi")
    for number in range(1, 400):
        seen = Seen(number * SECOND_US, 10, 1_000.0, 0, 10, 20, (), violations, 10, 30_000)
        state = decide(rules, state, seen).state
    assert isinstance(state.memory, KumoiMemory)
    return state.memory.offset


def test_the_margin_follows_the_share_that_was_asked_for() -> None:
    asked = ScaleRules("kumoi", 0, 99, violation_target_ppm=50_000)
    assert offset_after(asked, violations=0) < 0
    assert offset_after(asked, violations=2) > 0


def test_without_a_target_violations_add_no_margin() -> None:
    assert offset_after(ScaleRules("kumoi", 0, 99), violations=2) == 0
