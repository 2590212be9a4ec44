"""Who and what is on the hosts of a pool, as arrays: what the filters of placement look at."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement.snapshot import Hold, HostView, Window
from kumoi.model.jobs import CLASS_RANKS

Codes = NDArray[np.int64]
NOBODY = -1
SEVERAL = -2
FOREVER_US = int(np.iinfo(np.int64).max)


class Residents:
    """Per row: `tenant`, `sharer` and `recluse` (organization code, NOBODY or SEVERAL), `dedicated` (code or
    NOBODY), `domain` and `island` (codes). Per class rank and row: `held_us`, from when on it is kept from
    work of the class (FOREVER_US: never). By row: `windows` of reservations, `holds` of groups that wait.

    A tenant has anything on the host, a sharer a part of one of its devices, a recluse work that is alone.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._tenants: list[Counter[int]] = []
        self._sharers: list[Counter[int]] = []
        self._recluses: list[Counter[int]] = []
        self._of_job: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.windows: dict[tuple[Window, ...], set[int]] = {}
        self._windows_of: dict[int, tuple[Window, ...]] = {}
        self.dedicated_rows: set[int] = set()
        self.holds: dict[int, list[Hold]] = {}
        self._held_by: dict[str, list[int]] = {}
        self._size = 0
        self.tenant = self.sharer = self.recluse = self.dedicated = np.zeros(0, np.int64)
        self.domain = self.island = np.zeros(0, np.int64)
        self.held_us = np.zeros((len(CLASS_RANKS), 0), np.int64)
        self.recluse_rows: set[int] = set()

    def code(self, name: str) -> int:
        """The number of a name, the same for ever."""
        return self._codes.setdefault(name, len(self._codes))

    def row_append(self, view: HostView) -> None:
        """Add the next row, with nobody on it yet."""
        self._tenants.append(Counter())
        self._sharers.append(Counter())
        self._recluses.append(Counter())
        self._size += 1
        if self._size > len(self.tenant):
            self._grow()
        self.facts_put(self._size - 1, view)

    def facts_put(self, row: int, view: HostView) -> None:
        """What is true of the host itself, whoever is on it."""
        self.dedicated[row] = NOBODY if view.dedicated_to is None else self.code(view.dedicated_to)
        (self.dedicated_rows.discard if view.dedicated_to is None else self.dedicated_rows.add)(row)
        self.domain[row] = self.code(view.failure_domain or view.id)
        self.island[row] = self.code(view.fabric_island or view.id)
        self._windows_put(row, view.windows)

    def enter(
        self, row: int, organization_id: str, job_id: str, *, shares: bool, alone: bool, count: int = 1
    ) -> None:
        """`count` tasks come to a row; -1 takes one away."""
        organization = self.code(organization_id)
        self.tenant[row] = _count(self._tenants[row], organization, count)
        if shares:
            self.sharer[row] = _count(self._sharers[row], organization, count)
        if alone:
            self.recluse[row] = _count(self._recluses[row], organization, count)
            (self.recluse_rows.add if self._recluses[row] else self.recluse_rows.discard)(row)
        of_job = self._of_job[job_id]
        _count(of_job, row, count)
        if not of_job:
            del self._of_job[job_id]

    def rows_of_job(self, job_id: str) -> Mapping[int, int]:
        """How many tasks of a job are on which rows."""
        return self._of_job.get(job_id, {})

    def hold(self, row: int, hold: Hold) -> None:
        """Keep a row for a group that waits, from work of its class and those below."""
        self.holds.setdefault(row, []).append(hold)
        self._held_by.setdefault(hold.group_id, []).append(row)
        bound = self.held_us[hold.class_rank :, row]
        np.minimum(bound, hold.start_us, out=bound)

    def rows_held(self, group_id: str) -> Sequence[int]:
        """The rows that are kept for a group."""
        return self._held_by.get(group_id, ())

    def holds_drop(self) -> None:
        """Keep nothing for anybody."""
        self.held_us[:, list(self.holds)] = FOREVER_US
        self.holds.clear()
        self._held_by.clear()

    def _windows_put(self, row: int, windows: tuple[Window, ...]) -> None:
        before = self._windows_of.pop(row, ())
        if before:
            self.windows[before].discard(row)
            if not self.windows[before]:
                del self.windows[before]
        if windows:
            self._windows_of[row] = windows
            self.windows.setdefault(windows, set()).add(row)

    def _grow(self) -> None:
        size = max(16, 2 * len(self.tenant))
        for name, value in (
            ("tenant", NOBODY),
            ("sharer", NOBODY),
            ("recluse", NOBODY),
            ("dedicated", NOBODY),
            ("domain", NOBODY),
            ("island", NOBODY),
        ):
            old = getattr(self, name)
            grown = np.full(size, value, np.int64)
            grown[: len(old)] = old
            setattr(self, name, grown)
        held_us = np.full((len(CLASS_RANKS), size), FOREVER_US, np.int64)
        held_us[:, : self.held_us.shape[1]] = self.held_us
        self.held_us = held_us


def _count(counter: Counter[int], key: int, count: int) -> int:
    """Count, dropping what is zero; returns the only key, NOBODY or SEVERAL."""
    counter[key] += count
    if counter[key] == 0:
        del counter[key]
    if not counter:
        return NOBODY
    return SEVERAL if len(counter) > 1 else next(iter(counter))
