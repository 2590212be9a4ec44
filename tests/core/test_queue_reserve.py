"""A reservation gets hosts that are free, or is told what would do."""

from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.queue.reserve import HostTimes, Shortfall, hosts_reserve

windows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda span: (span[0], span[0] + span[1])),
    max_size=3,
).map(tuple)
pools = st.lists(st.tuples(st.integers(0, 40), windows), max_size=6).map(
    lambda made: [HostTimes(f"host_{number}", free, held) for number, (free, held) in enumerate(made)]
)


def free_at(hosts: list[HostTimes], start_us: int, end_us: int) -> set[str]:
    """The hosts on which nothing of others is at any moment of the span."""
    return {
        host.host_id
        for host in hosts
        if host.free_us <= start_us
        and not any(
            from_us <= moment < until_us
            for moment in range(start_us, end_us)
            for from_us, until_us in host.windows
        )
    }


@given(pools, st.integers(1, 6), st.integers(0, 50), st.integers(1, 30))
def test_what_is_chosen_is_free_and_what_is_offered_instead_is_the_earliest(
    hosts: list[HostTimes], count: int, start_us: int, length_us: int
) -> None:
    answer = hosts_reserve(hosts, count, start_us, start_us + length_us)
    free = free_at(hosts, start_us, start_us + length_us)
    if not isinstance(answer, Shortfall):
        assert len(answer) == count
        assert set(answer) <= free
        return
    assert answer.available == len(free) < count
    last_us = start_us + 200 if answer.earliest_us is None else answer.earliest_us
    for later_us in range(start_us, last_us):
        assert len(free_at(hosts, later_us, later_us + length_us)) < count
    if answer.earliest_us is not None:
        assert len(free_at(hosts, last_us, last_us + length_us)) >= count
    assert (answer.earliest_us is None) == (len(hosts) < count)


def test_hosts_that_are_free_first_are_taken() -> None:
    hosts = [HostTimes("host_1", 9), HostTimes("host_2", 0), HostTimes("host_3", 0)]
    assert hosts_reserve(hosts, 2, 10, 20) == ("host_2", "host_3")
