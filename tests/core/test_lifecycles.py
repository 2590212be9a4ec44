"""The tables of states hold together."""

import pytest

from kumoi.core.lifecycles import ATTEMPT, JOB, LIFECYCLES, TASK, Lifecycle, _lifecycle
from kumoi.model.jobs import TaskCounts

EVERY = pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=lambda lifecycle: lifecycle.name)


@EVERY
def test_every_state_is_reached(lifecycle: Lifecycle) -> None:
    seen: set[str] = set()
    waiting = list(lifecycle.entrances)
    while waiting:
        state = waiting.pop()
        if state not in seen:
            seen.add(state)
            waiting += lifecycle.moves[state]
    assert seen == set(lifecycle.states)


@EVERY
def test_every_move_leads_somewhere_else_and_has_a_cause(lifecycle: Lifecycle) -> None:
    for source, targets in lifecycle.moves.items():
        assert source not in targets
        assert targets.keys() <= set(lifecycle.states)
        assert all(cause.strip() for cause in targets.values())


@EVERY
def test_allows_says_what_the_table_says(lifecycle: Lifecycle) -> None:
    for source in (*lifecycle.states, "unheard-of"):
        for target in (*lifecycle.states, "unheard-of"):
            assert lifecycle.allows(source, target) == (target in lifecycle.moves.get(source, ()))


@pytest.mark.parametrize("lifecycle", [JOB, TASK, ATTEMPT], ids=lambda lifecycle: lifecycle.name)
def test_work_ends_from_every_state(lifecycle: Lifecycle) -> None:
    ends = set(lifecycle.terminal)
    while True:
        more = {state for state, targets in lifecycle.moves.items() if targets.keys() & ends} | ends
        if more == ends:
            break
        ends = more
    assert ends == set(lifecycle.states)


def test_the_names_are_unique_and_short_enough_for_their_column() -> None:
    assert len({lifecycle.name for lifecycle in LIFECYCLES}) == len(LIFECYCLES)
    assert all(len(state) <= 16 for lifecycle in LIFECYCLES for state in lifecycle.states)


def test_tasks_are_counted_by_every_state() -> None:
    assert set(TaskCounts.__struct_fields__) == set(TASK.states)


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        JOB.moves["queued"]["succeeded"] = "because"  # type: ignore[index]
    with pytest.raises(AttributeError):
        JOB.initial = "running"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("initial", "moves"), [("a", {"a": {"b": "x"}}), ("b", {"a": {}})], ids=["target", "initial"]
)
def test_a_table_that_names_what_it_lacks_is_refused(initial: str, moves: dict[str, dict[str, str]]) -> None:
    with pytest.raises(ValueError, match="names states that it does not have"):
        _lifecycle("odd", initial, moves)
