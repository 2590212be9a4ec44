"""The order of jobs that depend on each other within one batch."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


def cycle_find(depends_on: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """The names of a cycle in the graph, first and last the same; None if there is none."""
    try:
        TopologicalSorter(depends_on).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return None
