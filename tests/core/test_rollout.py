"""Rollouts as they go on: a small world in which replicas start, become ready, fail and end."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.rollout import (
    FAILURES_END,
    RETRY_MAX_S,
    RevisionView,
    RolloutRules,
    ServiceView,
    Steps,
    decide,
    retry_after_s,
)
from kumoi.core.rollout_replicas import ReplicaView

S_US = 1_000_000
T0_US = 1_700_000_000 * S_US


@dataclass(frozen=True)
class Nature:
    """How replicas of a revision behave; times in seconds after their start."""

    ready_s: float | None = 1.0
    exit_s: float | None = None
    dead_s: float | None = None
    unready_s: float | None = None


GOOD = Nature()
EXITS = Nature(ready_s=None, exit_s=0.0)
NEVER_OPENS = Nature(ready_s=None)
FALLS = Nature(ready_s=1, exit_s=3)
FLICKERS = Nature(ready_s=1, unready_s=2)
LIES = Nature(dead_s=6)
BROKEN = (EXITS, NEVER_OPENS, FALLS, FLICKERS)


@dataclass
class World:
    """A service, its replicas, and the seconds that pass."""

    natures: dict[int, Nature]
    service: ServiceView
    now_us: int = T0_US
    started: list[tuple[int, int]] = field(default_factory=list)
    """(when, revision) of every start."""
    served: list[int] = field(default_factory=list)
    """How many replicas could take requests after each step."""
    capacity: int = 1_000

    def step(self, seconds: float = 1.0) -> Steps:
        """Decide once, do as decided, let time pass."""
        view = replace(self.service, replicas=tuple(self._look(one) for one in self.service.replicas))
        steps = decide(view, self.now_us)
        assert steps == decide(view, self.now_us)
        _rules_hold(view, steps)
        self._apply(view, steps)
        again = decide(self.service, self.now_us)
        assert steps.revisions or steps.moves or not again.starts, "what was started is not started again"
        self.served.append(sum(self._serves(one) for one in self.service.replicas))
        self.now_us += int(seconds * S_US)
        return steps

    def run(self, seconds: float, step_s: float = 1.0) -> Steps:
        """Step for so long."""
        steps = self.step(step_s)
        for _ in range(int(seconds / step_s) - 1):
            steps = self.step(step_s)
        return steps

    def roll(self, number: int, nature: Nature) -> None:
        """A person wants another revision."""
        self.natures[number] = nature
        self._ask(number, (*self.service.revisions, RevisionView(number, "rolling")))

    def undo(self, number: int) -> None:
        """A person goes back to a revision."""
        self._ask(number, self.service.revisions)

    def _ask(self, number: int, revisions: tuple[RevisionView, ...]) -> None:
        def asked(one: RevisionView) -> RevisionView:
            if one.number == number:
                return replace(one, state="serving" if one.state == "serving" else "rolling", is_asked=True)
            return replace(one, state="retired" if one.state == "rolling" else one.state, is_asked=False)

        now = tuple(asked(one) for one in revisions)
        target = 0 if self.service.revision == number else number
        self.service = replace(self.service, target=target, revisions=now, failures=0, retry_us=None)

    def want(self, wanted: int, waiting: int = 0) -> None:
        """The autoscaler decides."""
        self.service = replace(self.service, wanted=wanted, waiting=waiting)

    def states(self) -> Counter[tuple[int, str]]:
        """How many replicas of which revision are in which state."""
        return Counter((one.revision, one.state) for one in self.service.replicas)

    def codes(self, steps: Steps) -> set[str]:
        return {one.code for one in steps.conditions}

    def _look(self, one: ReplicaView) -> ReplicaView:
        nature = self.natures[one.revision]
        if one.started_us is None:
            running = sum(other.started_us is not None for other in self.service.replicas)
            return replace(one, started_us=self.now_us) if running < self.capacity else one
        age_s = (self.now_us - one.started_us) / S_US
        if one.is_stopping or (nature.exit_s is not None and age_s >= nature.exit_s):
            return replace(one, has_ended=True, failure="" if one.is_stopping else "exit code 1")
        ready = nature.ready_s is not None and age_s >= nature.ready_s
        if nature.unready_s is not None and age_s >= nature.unready_s:
            ready = False
        alive = nature.dead_s is None or age_s < nature.dead_s
        unready_us = None if ready else (one.unready_us or self.now_us)
        drained = one.state == "draining"
        return replace(
            one, ready=ready, alive=alive, unready_us=unready_us, is_drained=drained, detail="refused"
        )

    def _apply(self, view: ServiceView, steps: Steps) -> None:
        moved = {move.id: move for move in steps.moves}
        kept = []
        for one in view.replicas:
            move = moved.get(one.id)
            if move is not None:
                assert move.source == one.state
                one = replace(
                    one,
                    state=move.target,
                    ready_us=self.now_us if move.target == "ready" and not one.ready_us else one.ready_us,
                    drain_us=self.now_us if move.target == "draining" else one.drain_us,
                )
            if one.id in steps.stops:
                one = replace(one, is_stopping=True)
            if one.state != "ended":
                kept.append(one)
        for revision, count in steps.starts:
            for _ in range(count):
                kept.append(ReplicaView(f"r{len(self.started)}", revision, "starting", self.now_us))
                self.started.append((self.now_us, revision))
        states = {one.number: one for one in self.service.revisions}
        for turn in steps.revisions:
            assert states[turn.number].state == turn.source
            states[turn.number] = replace(states[turn.number], state=turn.target, reason=turn.reason or "")
        self.service = replace(
            self.service,
            revision=steps.revision,
            target=steps.target,
            failures=steps.failures,
            retry_us=steps.retry_us,
            last=steps.last,
            given_up=steps.given_up,
            serving_failed_us=steps.serving_failed_us,
            revisions=tuple(states.values()),
            replicas=tuple(kept),
        )

    def _serves(self, one: ReplicaView) -> bool:
        return one.state == "ready" and self._look(one).ready is True


def _rules_hold(view: ServiceView, steps: Steps) -> None:
    """What holds at every step, whatever happens."""
    wanted = max(view.wanted, 1) if view.target else view.wanted
    left = {move.id for move in steps.moves if move.target in ("draining", "ended")}
    live = [one for one in view.replicas if one.state != "draining"]
    after = [one for one in live if one.id not in left]
    starting = sum(count for _, count in steps.starts)
    if starting:
        assert len(after) + starting <= wanted + view.rules.surge
    usable = [one for one in live if one.state == "ready" and one.ready is not False and not one.has_ended]
    sound = [one for one in usable if one.alive and not one.is_lost]
    if not view.deleting:
        risen = {move.id for move in steps.moves if move.target == "ready"}
        remaining = [one for one in after if one in usable or one.id in risen]
        assert len(remaining) >= min(view.wanted, len(sound)), "what serves is below what is wanted"
        if view.waiting and sound:
            assert remaining, "requests wait and the last ready replica was drained"
    assert not (view.heard_us is None and [m for m in steps.moves if m.target == "unready"])


def service(wanted: int = 2, **more: object) -> ServiceView:
    """A service whose first revision is to take over."""
    base = ServiceView(
        revision=0,
        target=1,
        wanted=wanted,
        revisions=(RevisionView(1, "rolling", is_asked=True),),
        heard_us=T0_US,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def serving(nature: Nature = GOOD, wanted: int = 2, **more: object) -> World:
    """A world in which revision 1 serves."""
    world = World({1: nature}, service(wanted, **more))
    world.run(30)
    assert world.service.revision == 1
    return world


def test_a_first_revision_serves_once_a_replica_stood() -> None:
    world = World({1: GOOD}, service(3))
    world.step()
    assert world.states() == {(1, "starting"): 3}
    world.run(10)
    assert (world.service.revision, world.service.target) == (1, 0)
    assert world.states() == {(1, "ready"): 3}


def test_a_service_that_wants_nothing_yet_is_tried_once_and_then_rests() -> None:
    world = World({1: GOOD}, service(0))
    world.run(10)
    assert world.service.revision == 1
    world.run(10)
    assert world.states() == {}
    assert len(world.started) == 1


def test_a_new_revision_takes_over_replica_by_replica() -> None:
    world = serving(wanted=4)
    world.roll(2, GOOD)
    world.served.clear()
    world.run(60)
    assert (world.service.revision, world.service.target) == (2, 0)
    assert world.states() == {(2, "ready"): 4}
    assert min(world.served) >= 4
    assert {one.number: one.state for one in world.service.revisions} == {1: "retired", 2: "serving"}


@pytest.mark.parametrize("nature", BROKEN)
@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_a_broken_revision_never_takes_the_service_down_and_is_given_up(nature: Nature, wanted: int) -> None:
    world = serving(wanted=wanted)
    world.roll(2, nature)
    world.served.clear()
    steps = world.run(400)
    assert min(world.served) >= wanted
    assert (world.service.revision, world.service.target) == (1, 0)
    assert world.states() == ({(1, "ready"): wanted} if wanted else {})
    assert world.codes(steps) == {"revision_failed"}
    assert sum(revision == 2 for _, revision in world.started) <= 3
    reason = next(one.reason for one in world.service.revisions if one.number == 2)
    assert reason.startswith(("exit code 1", "not ready 60 s", "did not stay ready"))


@pytest.mark.parametrize("way", ["undone", "replaced", "older"])
def test_a_revision_that_was_given_up_is_not_told_of_when_another_is_asked_for(way: str) -> None:
    world = serving()
    if way == "older":
        world.roll(2, GOOD)
        world.run(60)
    broken = world.service.revision + 1
    world.roll(broken, EXITS)
    assert world.codes(world.run(60)) == {"revision_failed"}
    if way == "replaced":
        world.roll(broken + 1, GOOD)
    else:
        world.undo(1)
    for _ in range(60):
        assert "revision_failed" not in world.codes(world.step())
    assert world.service.revision == (broken + 1 if way == "replaced" else 1)


def test_an_older_revision_that_fails_when_it_is_gone_back_to_is_told_of() -> None:
    world = serving()
    world.roll(2, GOOD)
    world.run(60)
    world.natures[1] = EXITS
    world.undo(1)
    steps = world.run(60)
    [failed] = [one for one in steps.conditions if one.code == "revision_failed"]
    assert (dict(failed.params)["revision"], world.service.revision) == ("1", 2)


def test_without_rollback_a_broken_revision_is_tried_ever_more_rarely_while_the_old_one_serves() -> None:
    world = serving(wanted=2, rules=RolloutRules(rollback=False))
    world.roll(2, EXITS)
    world.served.clear()
    world.run(1_000)
    assert min(world.served) >= 2
    tries = [at for at, revision in world.started if revision == 2]
    assert 5 <= len(tries) <= 12
    world.want(4)
    world.run(30)
    assert world.states()[1, "ready"] == 4, "what serves grows meanwhile"


@pytest.mark.parametrize("nature", [*BROKEN, LIES])
@pytest.mark.parametrize("wanted", [1, 8])
def test_what_cannot_stand_costs_a_bounded_number_of_starts(nature: Nature, wanted: int) -> None:
    world = World({1: nature}, service(wanted))
    steps = world.run(3_600, 2.0)
    early = len(world.started)
    assert early <= 3 * wanted + 40
    world.run(3_600, 2.0)
    assert len(world.started) - early <= 3_600 / RETRY_MAX_S + 2
    assert world.codes(steps) & {"revision_failing", "revision_failed", "not_alive"}


def test_a_first_revision_that_never_stands_is_given_up_in_the_end() -> None:
    world = World({1: EXITS}, service(1))
    world.run(10_000, 5.0)
    assert len(world.started) == FAILURES_END
    assert world.codes(world.step()) == {"nothing_serves", "revision_failed"}
    world.run(1_000, 5.0)
    assert len(world.started) == FAILURES_END


def test_what_is_ready_serves_on_when_every_revision_was_given_up() -> None:
    world = World({1: GOOD}, service(2, rules=RolloutRules(watch_us=60 * S_US)))
    world.run(10)
    assert world.service.revision == 0, "it was ready, not long enough to be trusted"
    world.roll(2, EXITS)
    world.served.clear()
    steps = world.run(10_000, 5.0)
    assert "nothing_serves" in world.codes(steps)
    assert min(world.served) == 2


def test_the_reason_is_told_at_the_first_failure() -> None:
    world = World({1: EXITS}, service(1))
    world.step()
    world.step()
    steps = world.step()
    params = dict(next(one.params for one in steps.conditions if one.code == "revision_failing"))
    assert (params["revision"], params["why"]) == ("1", "exit code 1")


def test_a_port_that_never_opens_is_told_within_seconds() -> None:
    world = World({1: NEVER_OPENS}, service(1))
    steps = world.run(6)
    [slow] = [dict(one.params) for one in steps.conditions if one.code == "slow_start"]
    assert (slow["replicas"], slow["timeout_s"]) == ("1", "60")


def test_the_next_try_is_told_only_while_none_is_made() -> None:
    world = World({1: EXITS}, service(1))
    seen = set()
    for _ in range(60):
        steps = world.step()
        told = [dict(one.params) for one in steps.conditions if one.code == "revision_failing"]
        is_tried = any(one.state == "starting" for one in world.service.replicas)
        assert all(("retry_at" in params) != is_tried for params in told)
        seen |= {(is_tried, params["replica"] in {f"r{n}" for n in range(60)}) for params in told}
    assert seen == {(True, True), (False, True)}


def test_work_that_finds_no_room_is_told_and_not_held_against_it() -> None:
    world = World({1: GOOD}, service(2), capacity=0)
    steps = world.run(300)
    assert world.codes(steps) == {"waiting_for_capacity"}
    assert len(world.started) == 2


def test_a_serving_replica_that_dies_is_replaced_at_once() -> None:
    world = serving(wanted=3)
    one, *others = world.service.replicas
    world.service = replace(
        world.service, replicas=(replace(one, has_ended=True, failure="signal 9"), *others)
    )
    view = world.service
    steps = decide(view, world.now_us)
    assert steps.starts == ((1, 1),)
    assert steps.failures == 1


def test_checks_that_lie_never_take_a_service_down() -> None:
    world = serving(Nature(dead_s=15), wanted=2)
    world.served.clear()
    world.run(600)
    assert min(world.served) >= 2


def test_a_paused_rollout_stays_where_it_is_but_follows_demand() -> None:
    world = serving(wanted=4)
    world.roll(2, GOOD)
    world.run(10)
    world.service = replace(world.service, paused=True)
    before = world.states()[2, "ready"]
    assert before >= 1
    steps = world.run(60)
    assert world.codes(steps) == {"rollout_paused"}
    assert world.states()[2, "ready"] == before
    world.want(7)
    world.run(30)
    states = world.states()
    assert states[1, "ready"] + states[2, "ready"] == 7
    assert states[2, "ready"] == before
    world.service = replace(world.service, paused=False)
    world.run(120)
    assert world.states() == {(2, "ready"): 7}


def test_a_newer_revision_comes_before_the_one_that_was_taking_over() -> None:
    world = serving(wanted=3)
    world.roll(2, NEVER_OPENS)
    world.run(5)
    world.roll(3, GOOD)
    world.served.clear()
    world.run(120)
    assert world.states() == {(3, "ready"): 3}
    assert min(world.served) >= 3


def test_old_replicas_are_replaced_with_more_first() -> None:
    world = serving(wanted=2)
    world.now_us += 30 * 86_400 * S_US
    world.service = replace(world.service, heard_us=world.now_us)
    old = {one.id for one in world.service.replicas}
    world.served.clear()
    world.run(60)
    assert min(world.served) >= 2
    assert world.states() == {(1, "ready"): 2}
    assert not old & {one.id for one in world.service.replicas}


def test_the_last_ready_replica_stays_while_requests_wait() -> None:
    world = serving(wanted=1)
    world.want(0, waiting=3)
    world.run(5)
    assert world.states() == {(1, "ready"): 1}
    world.want(0)
    world.run(5)
    assert world.states() == {}


def test_a_silent_gateway_changes_nothing() -> None:
    world = serving(wanted=2)
    world.service = replace(
        world.service,
        heard_us=None,
        replicas=tuple(replace(one, ready=False, alive=False) for one in world.service.replicas),
    )
    steps = decide(world.service, world.now_us)
    assert (steps.moves, steps.starts, steps.stops) == ((), (), ())
    assert {one.code for one in steps.conditions} == {"gateway_silent"}


def test_a_deleted_service_drains_and_is_over_when_nothing_is_left() -> None:
    world = serving(wanted=2)
    world.service = replace(world.service, deleting=True)
    steps = world.step()
    assert not steps.is_over
    world.step()
    world.step()
    assert world.step().is_over
    assert world.states() == {}


def test_a_drain_ends_at_its_deadline_whatever_is_in_flight() -> None:
    view = ReplicaView("r", 1, "draining", T0_US, drain_us=T0_US, busy=3)
    service_ = service(0, revision=1, target=0, revisions=(RevisionView(1, "serving"),), replicas=(view,))
    assert decide(service_, T0_US + 299 * S_US).stops == ()
    assert decide(service_, T0_US + 300 * S_US).stops == ("r",)


def test_a_replica_that_its_host_took_back_is_no_failure() -> None:
    world = serving(wanted=1)
    lost = tuple(replace(one, is_lost=True) for one in world.service.replicas)
    steps = decide(replace(world.service, replicas=lost), world.now_us)
    assert (steps.failures, steps.starts, steps.stops) == (0, ((1, 1),), (lost[0].id,))


def test_replicas_that_fall_with_a_host_count_as_one_failure() -> None:
    world = serving(wanted=3, rules=RolloutRules(surge=3))
    world.roll(2, NEVER_OPENS)
    world.run(2)
    fell = tuple(
        replace(one, has_ended=True, failure="its host lost it", fell_with_host=True)
        if one.revision == 2
        else one
        for one in world.service.replicas
    )
    assert sum(one.has_ended for one in fell) == 3
    steps = decide(replace(world.service, replicas=fell), world.now_us)
    assert (steps.target, steps.failures, steps.revisions) == (2, 1, ())


@pytest.mark.parametrize("start_timeout_s", [60, 700, 3_600])
def test_a_long_start_is_no_way_around_the_pauses(start_timeout_s: int) -> None:
    """A serving revision that stops standing costs little in a day, however long a start may take."""
    world = serving(wanted=10)
    world.natures[1] = NEVER_OPENS
    patient = RevisionView(1, "serving", start_timeout_us=start_timeout_s * S_US)
    gone = tuple(replace(one, has_ended=True, failure="exit code 1") for one in world.service.replicas)
    world.service = replace(world.service, revisions=(patient,), replicas=gone)
    world.started.clear()
    world.run(86_400, 30.0)
    assert len(world.started) * start_timeout_s <= 10 * 86_400 / 4
    assert world.service.failures > 1


def test_pauses_between_tries_grow_up_to_a_limit() -> None:
    pauses = [retry_after_s(failures) for failures in range(40)]
    assert pauses == sorted(pauses)
    assert (pauses[1], pauses[2], pauses[3], pauses[39]) == (0, 1, 2, RETRY_MAX_S)


natures = st.sampled_from([GOOD, *BROKEN, LIES, Nature(ready_s=8), Nature(exit_s=40)])
events = st.lists(
    st.tuples(st.sampled_from(["want", "roll", "pause", "silent", "wait"]), st.integers(0, 6), natures),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(events, st.integers(1, 3), st.integers(0, 6), st.booleans())
def test_whatever_happens_the_rules_hold_and_it_comes_to_rest(
    happens: list[tuple[str, int, Nature]], surge: int, watch_s: int, rollback: bool
) -> None:
    rules = RolloutRules(surge=surge, watch_us=watch_s * S_US, rollback=rollback)
    world = World({1: GOOD}, service(2, rules=rules))
    for what, number, nature in happens:
        match what:
            case "want":
                world.want(number, waiting=number % 2)
            case "roll":
                world.roll(len(world.natures) + 1, nature)
            case "pause":
                world.service = replace(world.service, paused=number > 3)
            case "silent":
                world.service = replace(world.service, heard_us=None if number > 3 else world.now_us)
        world.run(1 + 3 * number)
    world.service = replace(world.service, paused=False, heard_us=world.now_us, waiting=0)
    world.roll(len(world.natures) + 1, GOOD)
    world.want(3)
    world.run(200)
    assert world.states() == {(world.service.revision, "ready"): 3}
    assert (world.service.target, world.service.failures) == (0, 0)
