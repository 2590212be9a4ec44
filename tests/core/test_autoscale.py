"""Replica decisions: bounds, pins and schedules, monotony, holding, recomputing from what was recorded."""

import msgspec
import pytest
from autoscale_fluid import SECOND_US, Fluid
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.autoscale.decide import POLICY_NAMES, bounds, decide, scaler_new
from kumoi.core.autoscale.inputs import (
    Inputs,
    ScaleRules,
    Schedule,
    Seen,
    inputs_digest,
    inputs_pack,
    inputs_unpack,
    state_pack,
    state_unpack,
)
from kumoi.core.autoscale.reasons import REASONS

DAY_S = 86_400


policies = st.sampled_from(POLICY_NAMES)
bursts = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 90)), min_size=1, max_size=6)


def spread(stretches: list[tuple[int, int]]) -> list[int]:
    return [count for count, length_s in stretches for _ in range(length_s)]


@given(policies, bursts, st.integers(0, 3), st.integers(0, 9), st.none() | st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_wanted_stays_inside_the_bounds(
    policy: str, stretches: list[tuple[int, int]], least: int, more: int, pin: int | None
) -> None:
    rules = ScaleRules(policy, least, least + more, slots=2, pin=pin)
    for decision in Fluid(rules).run(spread(stretches)):
        assert least <= decision.wanted <= least + more
        if pin is not None:
            assert decision.wanted == max(least, min(pin, least + more))
            assert decision.reason == "pinned"


@given(
    policies,
    bursts,
    st.lists(
        st.builds(
            Schedule,
            st.integers(999_000, 1_000_300).map(lambda at: at * SECOND_US),
            st.integers(1_000_300, 1_000_400).map(lambda at: at * SECOND_US),
            st.sampled_from([0, 60]),
            st.none() | st.integers(0, 12),
            st.none() | st.integers(0, 12),
        ),
        max_size=3,
    ),
)
@settings(max_examples=40, deadline=None)
def test_schedules_stay_inside_the_services_own_bounds(
    policy: str, stretches: list[tuple[int, int]], schedules: list[Schedule]
) -> None:
    rules = ScaleRules(policy, 1, 8, schedules=tuple(schedules))
    service = Fluid(rules)
    for count in spread(stretches):
        decision = service.look(count)
        low, high = bounds(rules, service.now_s * SECOND_US)
        assert 1 <= low <= decision.wanted <= high <= 8


def test_a_daily_window_raises_the_minimum_while_it_lasts() -> None:
    nine, six = 9 * 3_600, 18 * 3_600
    window = Schedule(nine * SECOND_US, six * SECOND_US, DAY_S, min_replicas=5)
    rules = ScaleRules(min_replicas=1, max_replicas=8, schedules=(window,))
    for day in range(3):
        start_s = day * DAY_S
        assert bounds(rules, (start_s + nine - 1) * SECOND_US) == (1, 8)
        assert bounds(rules, (start_s + nine) * SECOND_US) == (5, 8)
        assert bounds(rules, (start_s + six - 1) * SECOND_US) == (5, 8)
        assert bounds(rules, (start_s + six) * SECOND_US) == (1, 8)


def test_where_windows_contradict_each_other_the_minimum_holds() -> None:
    rules = ScaleRules(
        min_replicas=0,
        max_replicas=9,
        schedules=(Schedule(0, SECOND_US, 0, min_replicas=6), Schedule(0, SECOND_US, 0, max_replicas=2)),
    )
    assert bounds(rules, 1) == (6, 6)
    assert bounds(rules, SECOND_US) == (0, 9)


@given(policies, bursts, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 4))
@settings(max_examples=120, deadline=None)
def test_more_demand_never_wants_less(
    policy: str,
    stretches: list[tuple[int, int]],
    arrivals: int,
    more_arrivals: int,
    more_waiting: int,
    slots: int,
) -> None:
    service = Fluid(ScaleRules(policy, 0, 1_000, slots=slots))
    service.run(spread(stretches))
    assert service.state is not None
    seen = msgspec.structs.replace(
        service.inputs[-1].seen, now_us=(service.now_s + 1) * SECOND_US, arrivals=arrivals
    )
    busier = msgspec.structs.replace(
        seen, arrivals=arrivals + more_arrivals, waiting=seen.waiting + more_waiting
    )
    calm, busy = (decide(service.rules, service.state, look) for look in (seen, busier))
    assert busy.wanted >= calm.wanted


@given(bursts, st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_what_was_started_is_held(stretches: list[tuple[int, int]], cold_start_s: int) -> None:
    service = Fluid(ScaleRules("kumoi", 0, 1_000, slots=2), cold_start_s)
    wanted = [decision.wanted for decision in service.run(spread(stretches))]
    hold_s = max(5, int(0.6 * cold_start_s))
    for at in range(1, len(wanted)):
        if wanted[at] > wanted[at - 1]:
            assert min(wanted[at : at + hold_s]) >= wanted[at]


@given(policies, bursts)
@settings(max_examples=40, deadline=None)
def test_a_decision_is_recomputed_from_what_was_recorded(
    policy: str, stretches: list[tuple[int, int]]
) -> None:
    service = Fluid(ScaleRules(policy, 0, 50, slots=4, violation_target_ppm=20_000))
    decisions = service.run(spread(stretches))
    for inputs, decision in list(zip(service.inputs, decisions, strict=True))[-20:]:
        kept = inputs_unpack(inputs_pack(inputs))
        assert decide(kept.rules, kept.state, kept.seen) == decision
        assert inputs_digest(kept) == inputs_digest(inputs)
        assert state_unpack(state_pack(decision.state)) == decision.state


def test_other_inputs_have_another_digest() -> None:
    inputs = Inputs(ScaleRules(), scaler_new("kumoi"), Seen(SECOND_US, arrivals=1))
    other = msgspec.structs.replace(inputs, seen=Seen(SECOND_US, arrivals=2))
    assert inputs_digest(inputs) != inputs_digest(other)


@pytest.mark.parametrize(
    "packed", [b"", b"nothing of ours", inputs_pack(Inputs(ScaleRules(), scaler_new("queue"), Seen(1)))[:-4]]
)
def test_what_is_damaged_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="replica decision"):
        inputs_unpack(packed)
    with pytest.raises(ValueError, match=r"replica decision|autoscaler"):
        state_unpack(packed)


def test_inputs_are_not_a_state() -> None:
    with pytest.raises(ValueError, match="not the state of an autoscaler"):
        state_unpack(inputs_pack(Inputs(ScaleRules(), scaler_new("kumoi"), Seen(1))))


def test_a_policy_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of kumoi, target, panic, queue"):
        scaler_new("guess")


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_every_reason_has_a_sentence(policy: str) -> None:
    service = Fluid(ScaleRules(policy, 0, 6, slots=2), cold_start_s=20)
    for decision in service.run([0] * 30 + [9] * 100 + [0] * 700 + [1] * 30):
        figures = {name: round(value, 1) for name, value in decision.figures}
        assert str(decision.wanted) in REASONS[decision.reason].format(wanted=decision.wanted, **figures)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_a_request_at_zero_wakes_the_service(policy: str) -> None:
    service = Fluid(ScaleRules(policy, 0, 6), ready=0)
    assert service.look(1).wanted >= 1


def test_a_change_of_policy_starts_anew() -> None:
    service = Fluid(ScaleRules("target", 1, 9))
    service.run([5] * 60)
    assert service.state is not None
    decision = decide(ScaleRules("panic", 1, 9), service.state, service.inputs[-1].seen)
    assert decision.state.policy == "panic"


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_a_clock_that_was_set_back_a_little_changes_nothing(policy: str) -> None:
    service = Fluid(ScaleRules(policy, 1, 9))
    last = service.run([3] * 60)[-1]
    seen = msgspec.structs.replace(service.inputs[-1].seen, now_us=(service.now_s - 5) * SECOND_US)
    decision = decide(service.rules, last.state, seen)
    assert (decision.wanted, decision.state) == (last.wanted, last.state)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_a_clock_that_was_set_back_far_starts_anew(policy: str) -> None:
    service = Fluid(ScaleRules(policy, 1, 9))
    last = service.run([3] * 60)[-1]
    seen = msgspec.structs.replace(service.inputs[-1].seen, now_us=SECOND_US)
    assert decide(service.rules, last.state, seen).state.looked_us == SECOND_US


def test_looks_far_apart_and_tiny_services_are_decided_on() -> None:
    rules, state = ScaleRules(min_replicas=0, slo_wait_ms=0), scaler_new("kumoi")
    for number in (1, 2, 10_000, 10_001, 900_000):
        state = decide(rules, state, Seen(number * SECOND_US, 5_000, 0.000_1, 0, 1, 1)).state
    assert state.wanted >= 1
