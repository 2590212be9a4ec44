"""How many requests a service is asked to serve at once: arrivals times service time, over a short window.

A backlog does not inflate it: a request counts when it arrives, however long it waits. The window is the mean
service time plus the wait that is allowed, since work that may wait so long may be spread over it.
"""

from bisect import bisect_right

from kumoi.core.autoscale.forecasts import LOOK_US

WINDOW_US_MAX = 600_000_000

Counted = tuple[tuple[int, int], ...]
"""Arrivals since the service was first looked at, by time."""


def demand_count(counted: Counted, now_us: int, arrivals: int, window_us: int) -> tuple[Counted, float]:
    """The counts with this look's arrivals, and how many arrived per microsecond of the window."""
    if not counted:
        counted = ((now_us - LOOK_US, 0),)
    total = counted[-1][1] + arrivals
    window_us = min(max(window_us, LOOK_US), WINDOW_US_MAX)
    start_us = max(now_us - window_us, counted[0][0])
    counted = (*counted, (now_us, total))
    after = bisect_right(counted, start_us, key=_time)
    at_us, before = counted[after - 1]
    next_us, following = counted[after]
    before_start = before + (following - before) * (start_us - at_us) / (next_us - at_us)
    return counted[after - 1 :], (total - before_start) / (now_us - start_us)


def _time(entry: tuple[int, int]) -> int:
    return entry[0]
