"""Whole hosts for a dated reservation: which ones, or what would do instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostTimes:
    """When a host is free: its live work ends by `free_us`, and others hold it in `windows` [start, end)."""

    host_id: str
    free_us: int
    windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Not enough hosts: `available` could be had, and all of them from `earliest_us` on (None: never)."""

    available: int
    earliest_us: int | None


def hosts_reserve(
    hosts: Sequence[HostTimes], count: int, start_us: int, end_us: int
) -> tuple[str, ...] | Shortfall:
    """`count` hosts that are free of others' work in [start, end): those that are free first, then by id.

    A shortfall names the earliest later start of a reservation as long and as large.
    """
    free = [host for host in hosts if _free(host, start_us, end_us)]
    if len(free) >= count:
        free.sort(key=lambda host: (host.free_us, host.host_id))
        return tuple(sorted(host.host_id for host in free[:count]))
    changes: list[tuple[int, int]] = []
    for host in hosts:
        for from_us, until_us in _starts(host, start_us, end_us - start_us):
            changes.append((from_us, 1))
            if until_us is not None:
                changes.append((until_us, -1))
    available = 0
    # At the same time hosts that are lost come before those that are won.
    for at_us, change in sorted(changes):
        available += change
        if available >= count:
            return Shortfall(len(free), at_us)
    return Shortfall(len(free), None)


def _free(host: HostTimes, start_us: int, end_us: int) -> bool:
    return host.free_us <= start_us and all(
        from_us >= end_us or until_us <= start_us for from_us, until_us in host.windows
    )


def _starts(host: HostTimes, after_us: int, length_us: int) -> Iterator[tuple[int, int | None]]:
    """The spans [from, until) of starts, from `after_us` on, at which the host is free for `length_us`."""
    from_us = max(after_us, host.free_us)
    for window_start_us, window_end_us in sorted(host.windows):
        last_us = window_start_us - length_us
        if from_us <= last_us:
            yield from_us, last_us + 1
        from_us = max(from_us, window_end_us)
    yield from_us, None
