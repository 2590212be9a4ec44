"""Which hosts a task may go to at all, before any policy has a say; each refusal has its reason.

A filter answers which rows pass, or None where it has nothing to say about the task.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement.reasons import (
    DEDICATED,
    FAR,
    HELD,
    NOT_DEDICATED,
    NOT_RESERVED,
    OTHER_SHARER,
    OTHER_TENANT,
    RESERVED,
    SPREAD,
)
from kumoi.core.placement.residents import NOBODY, Codes, Residents
from kumoi.core.placement.snapshot import PoolView, TaskView, Window
from kumoi.model.jobs import DEVICE_MILLI, GangScope, SpreadOver

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """What the filters are asked: may this task start now on the rows of the pool?"""

    pool: PoolView
    residents: Residents
    size: int
    task: TaskView
    now_us: int

    @property
    def organization(self) -> int:
        """The code of the task's organization."""
        return self.residents.code(self.task.organization_id)

    @property
    def ends_us(self) -> int:
        """When the task ends at the latest, if it starts now."""
        return self.now_us + self.task.hold_us


def tenants(question: Question) -> Mask | None:
    """On hosts that organizations do not share, nobody else's work may be there."""
    residents = question.residents
    if question.pool.exclusive or question.task.alone:
        return _nobody_or(residents.tenant[: question.size], question)
    if residents.recluse_rows:
        return _nobody_or(residents.recluse[: question.size], question)
    return None


def sharers(question: Question) -> Mask | None:
    """Parts of a device are given to one organization only, unless the provider relaxed it."""
    if question.pool.devices_shared or not task_shares(question.task):
        return None
    sharer = question.residents.sharer[: question.size]
    return _nobody_or(sharer, question)


def dedication(question: Question) -> Mask | None:
    """Dedicated hosts take their organization's work only."""
    if not question.residents.dedicated_rows:
        return None
    dedicated = question.residents.dedicated[: question.size]
    return _nobody_or(dedicated, question)


def dedication_asked(question: Question) -> Mask | None:
    """Work that asks for dedicated hosts goes to no others."""
    if not question.task.dedicated:
        return None
    passing: Mask = question.residents.dedicated[: question.size] == question.organization
    return passing


def windows(question: Question) -> Mask | None:
    """A reserved host takes what ends before the reservation starts, and what it is reserved for."""
    if not question.residents.windows:
        return None
    passing = np.ones(question.size, np.bool_)
    for of_rows, rows in question.residents.windows.items():
        if not all(_window_allows(window, question) for window in of_rows):
            passing[list(rows)] = False
    return passing


def windows_asked(question: Question) -> Mask | None:
    """Work that names a reservation goes to its hosts only, while it lasts."""
    if question.task.reservation is None:
        return None
    passing = np.zeros(question.size, np.bool_)
    for of_rows, rows in question.residents.windows.items():
        if any(_is_asked(window, question) for window in of_rows):
            passing[list(rows)] = True
    return passing


def holds(question: Question) -> Mask | None:
    """A host kept for a group that waits takes only what ends before that comes (conservative backfill), or
    is of a higher class."""
    if not question.residents.holds:
        return None
    residents, ends_us = question.residents, question.ends_us
    rank = question.task.class_rank
    passing: Mask = residents.held_us[rank, : question.size] >= ends_us
    group_id = question.task.gang or question.task.id
    for row in residents.rows_held(group_id):
        of_row = residents.holds[row]
        passing[row] = all(
            hold.group_id == group_id or rank < hold.class_rank or ends_us <= hold.start_us for hold in of_row
        )
    return passing


def spread(question: Question) -> Mask | None:
    """At most so many tasks of the job in one domain."""
    task = question.task
    if task.spread_over is None:
        return None
    domains = (
        np.arange(question.size)
        if task.spread_over is SpreadOver.HOST
        else question.residents.domain[: question.size]
    )
    counts: dict[int, int] = {}
    for row, count in question.residents.rows_of_job(task.job_id).items():
        counts[int(domains[row])] = counts.get(int(domains[row]), 0) + count
    full = [domain for domain, count in counts.items() if count >= task.spread_most]
    return ~np.isin(domains, full)


def nearness(question: Question) -> Mask | None:
    """Members of a gang go where those that run already are."""
    task = question.task
    running = question.residents.rows_of_job(task.job_id) if task.gang is not None else {}
    if not running or task.gang_within not in (GangScope.HOST, GangScope.FABRIC_ISLAND):
        return None
    if task.gang_within is GangScope.HOST:
        return np.isin(np.arange(question.size), list(running))
    island = question.residents.island[: question.size]
    return np.isin(island, [island[row] for row in running])


Filter = Callable[[Question], Mask | None]
FILTERS: tuple[tuple[str, Filter], ...] = (
    (DEDICATED, dedication),
    (NOT_DEDICATED, dedication_asked),
    (OTHER_TENANT, tenants),
    (NOT_RESERVED, windows_asked),
    (RESERVED, windows),
    (SPREAD, spread),
    (FAR, nearness),
    (OTHER_SHARER, sharers),
    (HELD, holds),
)
"""In the order in which a refusal is told."""
_OF_THE_ENGINE = (SPREAD, FAR)
"""What an engine that chooses hosts itself sees to."""


def masks(question: Question) -> Iterator[tuple[str, Mask]]:
    """The filters that have something to say, with the rows that pass each."""
    for reason, passes in FILTERS:
        if question.pool.chooses_pool_only and reason in _OF_THE_ENGINE:
            continue
        mask = passes(question)
        if mask is not None:
            yield reason, mask


def task_shares(task: TaskView) -> bool:
    """Whether the task asks for a part of a device."""
    return any(request.milli < DEVICE_MILLI for request in task.devices)


def _nobody_or(codes: Codes, question: Question) -> Mask:
    passing: Mask = (codes == NOBODY) | (codes == question.organization)
    return passing


def _window_allows(window: Window, question: Question) -> bool:
    if question.task.organization_id == window.organization_id:
        return True
    return question.now_us >= window.end_us or question.ends_us <= window.start_us


def _is_asked(window: Window, question: Question) -> bool:
    task = question.task
    return (
        window.reservation == task.reservation
        and window.organization_id == task.organization_id
        and window.start_us <= question.now_us < window.end_us
    )
