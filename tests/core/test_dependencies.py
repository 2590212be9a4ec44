"""A batch of jobs that wait for each other in a circle is found, with the circle."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.dependencies import cycle_find

NAMES = tuple("abcdefg")
graphs = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3))


def reachable(graph: dict[str, list[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return seen


@given(graphs)
def test_a_cycle_is_found_exactly_where_there_is_one(graph: dict[str, list[str]]) -> None:
    has_cycle = any(name in reachable(graph, name) for name in graph)
    assert (cycle_find(graph) is not None) == has_cycle


@given(graphs)
def test_what_is_found_is_a_cycle_of_the_graph(graph: dict[str, list[str]]) -> None:
    cycle = cycle_find(graph)
    if cycle is None:
        return
    assert cycle[0] == cycle[-1]
    assert len(cycle) >= 2
    edges = set(itertools.pairwise(cycle))
    forwards = all(b in graph.get(a, ()) for a, b in edges)
    backwards = all(a in graph.get(b, ()) for a, b in edges)
    assert forwards or backwards


def test_a_job_that_waits_for_itself_is_a_cycle() -> None:
    assert cycle_find({"a": ["a"]}) == ("a", "a")


def test_a_chain_is_none() -> None:
    assert cycle_find({"c": ["b"], "b": ["a"]}) is None
    assert cycle_find({}) is None
