"""A pool's hosts: inside their bounds, nothing with work given back, no flapping, recomputable."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.autoscale.hosts import hosts_decide, hosts_needed
from kumoi.core.autoscale.hosts_inputs import (
    HOST_REASONS,
    HostPhase,
    HostRules,
    HostsDecision,
    HostsInputs,
    HostsSeen,
    HostsState,
    PoolHost,
    hosts_inputs_digest,
    hosts_inputs_pack,
    hosts_inputs_unpack,
    hosts_state_pack,
    hosts_state_unpack,
)
from kumoi.model.time import US_PER_S

SLOTS = 8
RULES = HostRules(host_slots=SLOTS, boot_s=60, hosts_max=20, headroom_slots=0)

bounds = st.tuples(st.integers(0, 6), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
demands = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 120)), min_size=1, max_size=60)


@st.composite
def rules_any(draw: st.DrawFn) -> HostRules:
    low, high = draw(bounds)
    return HostRules(
        host_slots=SLOTS,
        boot_s=draw(st.integers(0, 200)),
        hosts_min=low,
        hosts_max=high,
        headroom_slots=draw(st.none() | st.integers(0, 20)),
        patience_s=draw(st.none() | st.integers(0, 100)),
        hold_s=draw(st.none() | st.integers(0, 400)),
        host_hour_microyen=draw(st.sampled_from((0, 10))),
        budget_hour_microyen=draw(st.none() | st.integers(0, 150)),
    )


class Pool:
    """A pool that follows its decisions: work fills the fullest host, and leaves the emptiest."""

    def __init__(self, rules: HostRules) -> None:
        self.rules, self.state = rules, HostsState()
        self.now_us, self.number, self.wanted = 0, 0, 0
        self.hosts: list[PoolHost] = []
        self.decided: list[tuple[HostsSeen, HostsDecision]] = []

    def step(self, after_s: int, wanted: int) -> HostsDecision:
        self.now_us += after_s * US_PER_S
        boot_us = self.rules.boot_s * US_PER_S
        ready = [
            msgspec.structs.replace(host, phase=HostPhase.READY)
            if host.since_us + boot_us <= self.now_us
            else host
            for host in self.hosts
        ]
        left, self.hosts = wanted, []
        for host in sorted(ready, key=lambda h: (-h.slots_used, h.id)):
            takes = min(SLOTS, left) if host.phase is HostPhase.READY else 0
            left -= takes
            since_us = self.now_us if host.slots_used and not takes else host.since_us
            self.hosts.append(
                msgspec.structs.replace(host, slots_used=takes, busy=takes > 0, since_us=since_us)
            )
        seen = HostsSeen(self.now_us, tuple(self.hosts), left)
        decision = hosts_decide(self.rules, self.state, seen)
        self.decided.append((seen, decision))
        self.state = decision.state
        self.hosts = [host for host in self.hosts if host.id not in decision.release]
        for _ in range(decision.ask):
            self.number += 1
            self.hosts.append(PoolHost(f"h{self.number:04}", HostPhase.BOOTING, self.now_us))
        return decision


def run(rules: HostRules, demand: Sequence[tuple[int, int]]) -> Pool:
    pool = Pool(rules)
    for after_s, wanted in demand:
        pool.step(after_s, wanted)
    return pool


def ready(name: str, used: int = 0, since_us: int = 0) -> PoolHost:
    return PoolHost(name, HostPhase.READY, since_us, used, used > 0)


@given(rules_any(), demands)
def test_never_outside_its_bounds(rules: HostRules, demand: list[tuple[int, int]]) -> None:
    for seen, decision in run(rules, demand).decided:
        after = len(seen.hosts) + decision.ask - len(decision.release)
        assert after <= rules.most
        assert after >= min(rules.hosts_min, rules.most)
        assert not (decision.ask and decision.release)
        assert decision.ask >= 0


@given(rules_any(), demands)
def test_nothing_with_work_is_given_back(rules: HostRules, demand: list[tuple[int, int]]) -> None:
    for seen, decision in run(rules, demand).decided:
        busy = {host.id for host in seen.hosts if host.busy or host.slots_used}
        assert busy.isdisjoint(decision.release)
        assert len(set(decision.release)) == len(decision.release)


@given(rules_any(), demands)
def test_no_host_goes_that_was_needed_within_the_hold(
    rules: HostRules, demand: list[tuple[int, int]]
) -> None:
    decided = run(rules, demand).decided
    for seen, decision in decided:
        if not decision.release:
            continue
        since_us = seen.now_us - rules.hold * US_PER_S
        recent = [before.needed for look, before in decided if since_us <= look.now_us <= seen.now_us]
        assert len(seen.hosts) - len(decision.release) >= min(max(recent), rules.most)


@given(rules_any(), demands, st.integers(0, 60), st.integers(1, 60))
def test_more_that_waits_never_means_fewer_hosts(
    rules: HostRules, demand: list[tuple[int, int]], pending: int, more: int
) -> None:
    pool = run(rules, demand)
    low = HostsSeen(pool.now_us + US_PER_S, tuple(pool.hosts), pending)
    high = msgspec.structs.replace(low, pending_slots=pending + more)
    few, many = (hosts_decide(rules, pool.state, seen) for seen in (low, high))
    assert many.needed >= few.needed
    assert many.ask >= few.ask
    assert len(many.release) <= len(few.release)


@given(rules_any(), demands)
def test_recorded_inputs_lead_to_the_same_decision(rules: HostRules, demand: list[tuple[int, int]]) -> None:
    state = HostsState()
    for seen, decision in run(rules, demand).decided:
        inputs = HostsInputs(rules, hosts_state_unpack(hosts_state_pack(state)), seen)
        again = hosts_inputs_unpack(hosts_inputs_pack(inputs))
        assert again == inputs
        assert hosts_inputs_digest(again) == hosts_inputs_digest(inputs)
        assert hosts_decide(again.rules, again.state, again.seen) == decision
        assert HOST_REASONS[decision.reason].format(**dict(decision.figures))
        state = decision.state
        assert len(state.lasting) + len(state.recent) <= 2 * rules.hosts_max + 2


def test_a_peak_shorter_than_a_boot_asks_for_nothing() -> None:
    pool = Pool(RULES)
    pool.hosts = [ready("a", SLOTS)]
    pool.step(1, SLOTS)
    assert pool.step(1, 3 * SLOTS).reason == "patient"
    assert pool.step(59, 3 * SLOTS).ask == 0
    pool.step(1, SLOTS)
    assert pool.step(1, 3 * SLOTS).ask == 0
    decision = pool.step(60, 2 * SLOTS)
    assert (decision.ask, decision.reason) == (1, "asked")


def test_a_pool_without_hosts_is_woken_at_once() -> None:
    decision = hosts_decide(RULES, HostsState(), HostsSeen(0, (), 3))
    assert (decision.ask, decision.reason) == (1, "woken")


def test_what_was_idle_longest_goes_first_but_what_still_boots_before_it() -> None:
    rules = msgspec.structs.replace(RULES, hold_s=10)
    hosts = (
        ready("busy", 3),
        ready("old", since_us=5),
        ready("new", since_us=9),
        PoolHost("booting", HostPhase.BOOTING, 2),
        PoolHost("leaving", HostPhase.LEAVING, 1),
    )
    state = hosts_decide(rules, HostsState(), HostsSeen(10, hosts)).state
    later = hosts_decide(rules, state, HostsSeen(10 + 11 * US_PER_S, hosts))
    assert later.release == ("booting", "old", "new")


def test_hosts_of_a_first_look_are_held_from_then() -> None:
    hosts = tuple(ready(f"h{number}") for number in range(3))
    first = hosts_decide(RULES, HostsState(), HostsSeen(10**9, hosts))
    assert (first.release, first.reason) == ((), "held")


def test_without_demand_there_is_no_headroom() -> None:
    rules = msgspec.structs.replace(RULES, headroom_slots=SLOTS)
    assert hosts_needed(rules, [ready("a")], 0) == 0
    assert hosts_needed(rules, [ready("a", 1)], 0) == 2


def test_room_in_the_wrong_place_is_no_room() -> None:
    hosts = [ready("a", 5), ready("b", 5)]
    assert hosts_needed(RULES, hosts, 0) == 2
    assert hosts_needed(RULES, hosts, 4) == 3


def test_the_budget_is_above_demand_and_minimum() -> None:
    rules = msgspec.structs.replace(RULES, hosts_min=3, host_hour_microyen=10, budget_hour_microyen=25)
    pool = Pool(rules)
    assert pool.step(1, 100).ask == 2
    decision = pool.step(100, 100)
    assert (decision.ask, decision.reason) == (0, "over_budget")
    poor = msgspec.structs.replace(rules, budget_hour_microyen=9)
    hosts = (ready("a"), ready("b", 2))
    assert hosts_decide(poor, HostsState(), HostsSeen(1, hosts)).release == ("a",)


def test_a_clock_that_went_back_is_refused() -> None:
    with pytest.raises(ValueError, match="went back"):
        hosts_decide(RULES, HostsState(looked_us=2), HostsSeen(1))


@pytest.mark.parametrize(
    "packed", [b"", b"no", hosts_inputs_pack(HostsInputs(RULES, HostsState(), HostsSeen(1)))[:-3]]
)
def test_damaged_records_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        hosts_inputs_unpack(packed)
    with pytest.raises(ValueError):
        hosts_state_unpack(packed)


def test_what_leaves_is_paid_for_and_counts_against_the_most() -> None:
    rules = msgspec.structs.replace(RULES, hosts_max=2)
    leaving = PoolHost("leaving", HostPhase.LEAVING, 0)
    decision = hosts_decide(rules, HostsState(), HostsSeen(1, (leaving,), 5 * SLOTS))
    assert (decision.ask, decision.reason) == (1, "woken")
    assert hosts_decide(rules, HostsState(), HostsSeen(1, (leaving, leaving), 8)).reason == "at_max"


def test_nothing_is_asked_for_while_that_came_to_nothing_lately() -> None:
    decision = hosts_decide(RULES, HostsState(), HostsSeen(1, (), 8, ask_from_us=2))
    assert (decision.ask, decision.reason) == (0, "backing_off")
    assert hosts_decide(RULES, decision.state, HostsSeen(2, (), 8, ask_from_us=2)).ask == 1
