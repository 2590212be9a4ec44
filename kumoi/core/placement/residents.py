"""Who and what is on the hosts of a pool, as arrays: what the filters of placement look at."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement.snapshot import HostView, Window

Codes = NDArray[np.int64]
Times = NDArray[np.int64]
NOBODY = -1
SEVERAL = -2
NEVER_US = (1 << 62) - 1


class Residents:
    """Per row: `tenant` and `sharer` (organization code, NOBODY or SEVERAL), `dedicated` (code or NOBODY),
    `domain` and `island` (codes), `held_us` (a waiting gang takes the host then; NEVER_US if none does).

    A tenant has anything on the host, a sharer a part of one of its devices.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._tenants: list[Counter[int]] = []
        self._sharers: list[Counter[int]] = []
        self._of_job: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.windows: dict[int, tuple[Window, ...]] = {}
        self.dedicated_rows: set[int] = set()
        self.held_rows: set[int] = set()
        self._size = 0
        self.tenant = self.sharer = self.dedicated = self.domain = self.island = np.zeros(0, np.int64)
        self.held_us: Times = np.zeros(0, np.int64)

    def code(self, name: str) -> int:
        """The number of a name, the same for ever."""
        return self._codes.setdefault(name, len(self._codes))

    def row_append(self, view: HostView) -> None:
        """Add the next row, with nobody on it yet."""
        self._tenants.append(Counter())
        self._sharers.append(Counter())
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
        if view.windows:
            self.windows[row] = view.windows
        else:
            self.windows.pop(row, None)

    def enter(self, row: int, organization_id: str, job_id: str, *, shares: bool, count: int = 1) -> None:
        """`count` tasks come to a row; -1 takes one away."""
        organization = self.code(organization_id)
        self.tenant[row] = _count(self._tenants[row], organization, count)
        if shares:
            self.sharer[row] = _count(self._sharers[row], organization, count)
        of_job = self._of_job[job_id]
        _count(of_job, row, count)
        if not of_job:
            del self._of_job[job_id]

    def rows_of_job(self, job_id: str) -> Mapping[int, int]:
        """How many tasks of a job are on which rows."""
        return self._of_job.get(job_id, {})

    def hold(self, rows: Iterable[int], from_us: int) -> None:
        """Keep rows for a gang that will take them at `from_us`."""
        for row in rows:
            self.held_us[row] = min(int(self.held_us[row]), from_us)
            self.held_rows.add(row)

    def holds_clear(self) -> None:
        """Forget what was held for gangs."""
        self.held_us[list(self.held_rows)] = NEVER_US
        self.held_rows.clear()

    def _grow(self) -> None:
        size = max(16, 2 * len(self.tenant))
        for name, value in (
            ("tenant", NOBODY),
            ("sharer", NOBODY),
            ("dedicated", NOBODY),
            ("domain", NOBODY),
            ("island", NOBODY),
            ("held_us", NEVER_US),
        ):
            old = getattr(self, name)
            grown = np.full(size, value, np.int64)
            grown[: len(old)] = old
            setattr(self, name, grown)


def _count(counter: Counter[int], key: int, count: int) -> int:
    """Count, dropping what is zero; returns the only key, NOBODY or SEVERAL."""
    counter[key] += count
    if counter[key] == 0:
        del counter[key]
    if not counter:
        return NOBODY
    return SEVERAL if len(counter) > 1 else next(iter(counter))
