"""The mix is that of the last arrivals, and is looked at rarely."""

from kumoi.core.placement.mix import FIRST_ARRIVALS, WINDOW_ARRIVALS, Mix
from kumoi.core.placement.shapes import Shape

SMALL, LARGE = Shape(1_000, 1), Shape(8_000, 1, gpu_count=8)


def arrive(mix: Mix, shape: Shape, count: int) -> None:
    for _ in range(count):
        mix.arrive(shape)


def looks(arrivals: int, hosts: int) -> list[int]:
    """After how many arrivals the mix was looked at."""
    mix, at = Mix(), []
    for arrived in range(1, arrivals + 1):
        mix.arrive(SMALL)
        if mix.is_due(hosts):
            mix.look()
            at.append(arrived)
    return at


def test_only_the_last_arrivals_count() -> None:
    mix = Mix()
    arrive(mix, SMALL, 10)
    arrive(mix, LARGE, WINDOW_ARRIVALS - 4)
    assert mix.look()[0] == {SMALL: 4, LARGE: WINDOW_ARRIVALS - 4}
    arrive(mix, LARGE, 4)
    assert mix.look()[0] == {LARGE: WINDOW_ARRIVALS}


def test_turnover_is_departures_per_arrival_since_the_last_look() -> None:
    mix = Mix()
    assert mix.look() == ({}, 0.0)
    arrive(mix, SMALL, 8)
    for _ in range(2):
        mix.leave()
    assert mix.look()[1] == 0.25
    arrive(mix, SMALL, 1)
    for _ in range(5):
        mix.leave()
    assert mix.look()[1] == 1.0
    assert mix.look()[1] == 0.0


def test_looks_are_early_at_first_and_then_one_a_window() -> None:
    first = [FIRST_ARRIVALS, 4 * FIRST_ARRIVALS]
    later = [4 * FIRST_ARRIVALS + WINDOW_ARRIVALS * n for n in (1, 2)]
    assert looks(later[-1], hosts=100) == first + later


def test_the_more_hosts_the_more_arrivals_to_a_look() -> None:
    hosts = 20_000
    assert looks(60_000, hosts) == [2_500, 10_000, 40_000]
