"""Metered intervals leave no gap and do not overlap, however often and whenever the meter runs."""

from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.metering import INTERVALS_MAX, PERIOD_US, Interval, intervals_due
from kumoi.model.jobs import WALL_TIME_S_MAX

T0_US = 472_222 * PERIOD_US
starts = st.integers(T0_US - PERIOD_US, T0_US + PERIOD_US)
lengths = st.integers(0, 100 * PERIOD_US)


def metered(start_us: int, looks_us: list[int], end_us: int) -> list[Interval]:
    """What is written when the meter looks at these times and then records the end."""
    intervals: list[Interval] = []
    metered_us = start_us
    for now_us in [*looks_us, None]:
        due = intervals_due(metered_us, end_us if now_us is None else now_us, ended=now_us is None)
        intervals += due
        if due:
            metered_us = due[-1].end_us
    return intervals


@given(starts, lengths, st.lists(st.integers(0, 100 * PERIOD_US), max_size=8))
def test_the_intervals_cover_what_was_held_exactly(start_us: int, length_us: int, looks: list[int]) -> None:
    end_us = start_us + length_us
    looks_us = sorted(start_us + look for look in looks if look <= length_us)
    intervals = metered(start_us, looks_us, end_us)
    edges = [start_us, *(interval.end_us for interval in intervals)]
    assert [interval.start_us for interval in intervals] == edges[:-1]
    assert all(interval.end_us > interval.start_us for interval in intervals)
    assert edges[-1] == end_us


@given(starts, lengths, st.lists(st.integers(0, 100 * PERIOD_US), max_size=8))
def test_when_the_meter_ran_leaves_no_trace(start_us: int, length_us: int, looks: list[int]) -> None:
    end_us = start_us + length_us
    looks_us = sorted(start_us + look for look in looks if look <= length_us)
    assert metered(start_us, looks_us, end_us) == metered(start_us, [], end_us)


@given(starts, lengths)
def test_a_running_attempt_is_cut_at_full_hours_that_have_passed(start_us: int, length_us: int) -> None:
    now_us = start_us + length_us
    due = intervals_due(start_us, now_us, ended=False)
    assert all(interval.end_us % PERIOD_US == 0 for interval in due)
    assert all(interval.end_us - interval.start_us <= PERIOD_US for interval in due)
    last_us = due[-1].end_us if due else start_us
    assert last_us <= now_us < (last_us // PERIOD_US + 1) * PERIOD_US


@given(starts, lengths)
def test_metering_again_at_once_gives_nothing(start_us: int, length_us: int) -> None:
    due = intervals_due(start_us, start_us + length_us, ended=False)
    metered_us = due[-1].end_us if due else start_us
    assert intervals_due(metered_us, start_us + length_us, ended=False) == ()


@given(starts, st.integers(0, PERIOD_US))
def test_a_clock_that_went_back_gives_nothing(start_us: int, back_us: int) -> None:
    for ended in (True, False):
        assert intervals_due(start_us, start_us - back_us, ended=ended) == ()


def test_the_longest_attempt_fits_into_one_call_and_longer_ones_go_on_with_the_next() -> None:
    longest_us = T0_US + 1 + WALL_TIME_S_MAX * 1_000_000
    assert intervals_due(T0_US + 1, longest_us, ended=True)[-1].end_us == longest_us
    first = intervals_due(T0_US, T0_US + 2_000 * PERIOD_US, ended=True)
    assert len(first) == INTERVALS_MAX
    rest = intervals_due(first[-1].end_us, T0_US + 2_000 * PERIOD_US, ended=True)
    assert rest[0].start_us == first[-1].end_us
