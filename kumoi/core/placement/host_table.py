"""The hosts of one pool as arrays, with a log of the rows that changed.

Rows are hosts in order of id; what is kept per row is what a policy needs to score many hosts in one step.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement.shapes import WHOLE_MILLI, HostShape, Shape, is_partition

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]
Slots = NDArray[np.int32]

MIXED = 0
"""Model code of a host whose slots differ in model, and of one without slots."""

LOG_LENGTH = 1 << 16
_DEDUPE_FROM = 48
_BY_ROW = {
    "active": np.bool_,
    "idle": np.bool_,
    "mixed": np.bool_,
    "cpu_milli": np.int64,
    "cpu_free": np.int64,
    "memory_bytes": np.int64,
    "memory_free": np.int64,
    "disk_bytes": np.int64,
    "disk_free": np.int64,
    "gpu_milli": np.int64,
    "gpu_free": np.int64,
    "whole_free": np.int64,
    "largest_free": np.int64,
    "host_model": np.int64,
    "host_class": np.int64,
    "_last_change": np.int64,
}
_BY_SLOT = {
    "slot_free": np.int32,
    "slot_used": np.int32,
    "slot_model": np.int16,
    "slot_healthy": np.bool_,
}


class HostTable:
    """N rows of hosts, G device slots a row. Read the arrays freely; change them through the methods only.

    Per row: `cpu_milli`, `memory_bytes`, `disk_bytes`, `gpu_milli` (capacity; healthy slots), `cpu_free`,
    `memory_free`, `disk_free`, `gpu_free` (what is left), `whole_free` (slots with all of their 1,000 milli
    left), `largest_free` (milli left in the freest slot), `host_model` and `host_class` (codes), `mixed`
    (slots of several models), `active`, `idle` (active, sound, nothing used: as its class). Per row and slot,
    [N, G]: `slot_free` (milli; 0 without a healthy slot), `slot_used`, `slot_model` (code; 0 where there is
    no slot), `slot_healthy`.

    `changes` counts changes of rows; `changed_since` tells which rows they were.
    """

    active: Bools
    idle: Bools
    mixed: Bools
    cpu_milli: Ints
    cpu_free: Ints
    memory_bytes: Ints
    memory_free: Ints
    disk_bytes: Ints
    disk_free: Ints
    gpu_milli: Ints
    gpu_free: Ints
    whole_free: Ints
    largest_free: Ints
    host_model: Ints
    host_class: Ints
    slot_free: Slots
    slot_used: Slots
    slot_model: NDArray[np.int16]
    slot_healthy: Bools
    _last_change: Ints

    def __init__(self, hosts: Iterable[HostShape] = (), log_length: int = LOG_LENGTH) -> None:
        hosts = list(hosts)
        self.changes = 0
        self._codes: dict[str, int] = {}
        self._classes: dict[HostShape, int] = {}
        self._shapes: list[HostShape] = []
        self._allowed: dict[frozenset[str] | None, Bools | None] = {}
        self._mixed_rows = 0
        self._closed_rows = 0
        self._size = len(hosts)
        self._log: Rows = np.zeros(2 * log_length, np.intp)
        self._log_base = 0
        width = max((len(host.slot_models) for host in hosts), default=0)
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(len(hosts), kind) for name, kind in _BY_ROW.items()
        }
        self._arrays |= {name: np.zeros((len(hosts), width), kind) for name, kind in _BY_SLOT.items()}
        self._show()
        self.active[:] = True
        self.slot_healthy[:] = True
        for row, host in enumerate(hosts):
            self.row_put(row, host)

    def __len__(self) -> int:
        return self._size

    @property
    def slots_max(self) -> int:
        """G: the most slots that a row can show."""
        return int(self.slot_free.shape[1])

    @property
    def classes(self) -> tuple[HostShape, ...]:
        """The classes of hosts, by their code in `host_class`: hosts of one class are made alike."""
        return tuple(self._shapes)

    @property
    def models(self) -> tuple[str, ...]:
        """The device models; the first has code 1."""
        return tuple(self._codes)

    @property
    def has_mixed(self) -> bool:
        """Whether any row has slots of several models."""
        return self._mixed_rows > 0

    def row_append(self, host: HostShape) -> int:
        """Add a host, empty and active; returns its row."""
        row = self._size
        self._grow(row + 1, len(host.slot_models))
        self._size = row + 1
        self._show()
        self.active[row] = True
        self.slot_healthy[row] = True
        self.row_put(row, host)
        return row

    def row_put(self, row: int, host: HostShape) -> None:
        """Say what a row's host has. What its tasks use stays used, so that less than nothing may be left."""
        if len(host.slot_models) > self.slots_max:
            self._grow(self._size, len(host.slot_models))
            self._show()
        codes = [self._code(model) for model in host.slot_models]
        used = {
            "cpu": self.cpu_milli[row] - self.cpu_free[row],
            "memory": self.memory_bytes[row] - self.memory_free[row],
            "disk": self.disk_bytes[row] - self.disk_free[row],
        }
        self.cpu_milli[row], self.cpu_free[row] = host.cpu_milli, host.cpu_milli - used["cpu"]
        self.memory_bytes[row], self.memory_free[row] = host.memory_bytes, host.memory_bytes - used["memory"]
        self.disk_bytes[row], self.disk_free[row] = host.disk_bytes, host.disk_bytes - used["disk"]
        self._mixed_rows += (len(set(codes)) > 1) - int(self.mixed[row])
        self.mixed[row] = len(set(codes)) > 1
        self.host_model[row] = codes[0] if len(set(codes)) == 1 else MIXED
        self.host_class[row] = self._class(host)
        self.slot_model[row] = 0
        self.slot_model[row, : len(codes)] = codes
        self._slots_derive(row)
        self._idle_derive(row)
        self._changed(row)

    def row_open(self, row: int, is_open: bool) -> None:
        """Open a row to new tasks, or close it (drained, gone). What is on it can still be given back."""
        self._closed_rows += int(self.active[row]) - int(is_open)
        self.active[row] = is_open
        self._idle_derive(row)
        self._changed(row)

    def row_remove(self, row: int) -> None:
        """Close a row for good. Rows keep their numbers."""
        self.row_open(row, False)

    def slots_health(self, row: int, healthy: Sequence[bool]) -> None:
        """Say which slots of a row may take new tasks, from slot 0 on."""
        self.slot_healthy[row, : len(healthy)] = healthy
        self._slots_derive(row)
        self._idle_derive(row)
        self._changed(row)

    def take(self, row: int, shape: Shape, slots: Sequence[int]) -> None:
        """Give what the shape asks for, its devices from `slots`. ValueError if that is not free."""
        free = self.slot_free[row].tolist()
        for slot in slots:
            free[slot] -= shape.gpu_milli
        if (
            len(slots) != shape.gpu_count
            or any(free[slot] < 0 for slot in slots)
            or self.cpu_free[row] < shape.cpu_milli
            or self.memory_free[row] < shape.memory_bytes
            or (shape.disk_bytes and self.disk_free[row] < shape.disk_bytes)
            or not self.active[row]
        ):
            raise ValueError(f"row {row} has no room for {shape} in slots {tuple(slots)}")
        if slots:
            for slot in slots:
                self.slot_free[row, slot] = free[slot]
                self.slot_used[row, slot] += shape.gpu_milli
            self._slots_sum(row, free)
        self._use(row, shape, 1)

    def give_back(self, row: int, shape: Shape, slots: Sequence[int]) -> None:
        """Undo `take`."""
        self._slots_use(row, shape, slots, -1)
        self._use(row, shape, -1)

    def occupy(self, row: int, shape: Shape, slots: Sequence[int]) -> None:
        """`take` for what is there already, whether or not there is room for it."""
        self._slots_use(row, shape, slots, 1)
        self._use(row, shape, 1)

    def changed_since(self, changes: int) -> Rows | None:
        """The rows changed since `changes` had this value, in few repeats; None if the log is too short."""
        start = changes - self._log_base
        if start < 0:
            return None
        rows = self._log[start : self.changes - self._log_base]
        if rows.size > _DEDUPE_FROM:
            rows = rows[self._last_change.take(rows) == np.arange(changes, self.changes)]
        return rows

    def fits(self, shape: Shape, rows: Rows) -> Bools:
        """Whether the shape fits now, for each of `rows`."""
        fits = self.cpu_free.take(rows) >= shape.cpu_milli
        fits &= self.memory_free.take(rows) >= shape.memory_bytes
        if shape.disk_bytes:
            fits &= self.disk_free.take(rows) >= shape.disk_bytes
        if self._closed_rows:
            fits &= self.active.take(rows)
        if not shape.gpu_count:
            return fits
        if shape.gpu_milli < WHOLE_MILLI:
            fits &= self.largest_free.take(rows) >= shape.gpu_milli
        else:
            fits &= self.whole_free.take(rows) >= shape.gpu_count
        allowed = self._models_allowed(shape.models)
        if allowed is not None:
            fits &= allowed.take(self.host_model.take(rows))
            if self._mixed_rows:
                doubtful = (fits & self.mixed.take(rows)).nonzero()[0]
                free = self.slots_of(shape, rows[doubtful])
                fits[doubtful] = (free >= shape.gpu_milli).sum(axis=0) >= shape.gpu_count
        return fits

    def slots_of(self, shape: Shape, rows: Rows) -> Slots:
        """Milli left in the slots that the shape's models allow, [G, rows]; 0 in all other slots."""
        free = self.slot_free.take(rows, axis=0)
        if self._mixed_rows:
            allowed = self._models_allowed(shape.models)
            if allowed is not None:
                free *= allowed.take(self.slot_model.take(rows, axis=0))
        return np.ascontiguousarray(free.T)

    def slots_open(self, row: int, shape: Shape) -> list[int]:
        """The slots of a row in which the shape's devices can be, in ascending order."""
        free = self.slot_free[row].tolist()
        allowed = self._models_allowed(shape.models) if self.mixed[row] else None
        if allowed is None:
            return [slot for slot, left in enumerate(free) if left >= shape.gpu_milli]
        codes = self.slot_model[row].tolist()
        return [slot for slot, left in enumerate(free) if left >= shape.gpu_milli and allowed[codes[slot]]]

    def _slots_use(self, row: int, shape: Shape, slots: Sequence[int], sign: int) -> None:
        if slots:
            for slot in slots:
                self.slot_used[row, slot] += sign * shape.gpu_milli
            self._slots_derive(row)

    def _use(self, row: int, shape: Shape, sign: int) -> None:
        self.cpu_free[row] -= sign * shape.cpu_milli
        self.memory_free[row] -= sign * shape.memory_bytes
        if shape.disk_bytes:
            self.disk_free[row] -= sign * shape.disk_bytes
        if sign > 0:
            self.idle[row] = False
        else:
            self._idle_derive(row)
        self._changed(row)

    def _idle_derive(self, row: int) -> None:
        host = self._shapes[self.host_class[row]]
        self.idle[row] = (
            self.active[row]
            and self.cpu_free[row] == host.cpu_milli
            and self.memory_free[row] == host.memory_bytes
            and self.disk_free[row] == host.disk_bytes
            and self.gpu_free[row] == WHOLE_MILLI * len(host.slot_models)
        )

    def _slots_derive(self, row: int) -> None:
        """What follows from models, health and use of a row's slots."""
        sound = [
            model > 0 and healthy
            for model, healthy in zip(
                self.slot_model[row].tolist(), self.slot_healthy[row].tolist(), strict=True
            )
        ]
        free = [
            max(0, WHOLE_MILLI - used) if is_sound else 0
            for used, is_sound in zip(self.slot_used[row].tolist(), sound, strict=True)
        ]
        self.slot_free[row] = free
        self.gpu_milli[row] = WHOLE_MILLI * sum(sound)
        self._slots_sum(row, free)

    def _slots_sum(self, row: int, free: list[int]) -> None:
        self.gpu_free[row] = sum(free)
        self.whole_free[row] = free.count(WHOLE_MILLI)
        self.largest_free[row] = max(free, default=0)

    def _changed(self, row: int) -> None:
        position = self.changes - self._log_base
        if position == self._log.size:
            half = self._log.size // 2
            self._log[:half] = self._log[half:]
            self._log_base += half
            position -= half
        self._log[position] = row
        self._last_change[row] = self.changes
        self.changes += 1

    def _code(self, model: str) -> int:
        if model not in self._codes:
            self._codes[model] = len(self._codes) + 1
            self._allowed.clear()
        return self._codes[model]

    def _class(self, host: HostShape) -> int:
        if host not in self._classes:
            self._classes[host] = len(self._shapes)
            self._shapes.append(host)
        return self._classes[host]

    def _models_allowed(self, models: frozenset[str] | None) -> Bools | None:
        """For each model code whether it is allowed; None if all are. A mixed host is looked at by slot."""
        if models not in self._allowed:
            wanted = [not is_partition(model) if models is None else model in models for model in self._codes]
            self._allowed[models] = None if all(wanted) else np.array([True, *wanted])
        return self._allowed[models]

    def _grow(self, size: int, width: int) -> None:
        """Make room for `size` rows of `width` slots; what is there stays."""
        length, slots = self._arrays["slot_free"].shape
        if size <= length and width <= slots:
            return
        length, slots = (length if size <= length else max(size, 2 * length)), max(width, slots)
        for name, old in self._arrays.items():
            new = np.zeros((length, slots) if name in _BY_SLOT else length, old.dtype)
            if name in _BY_SLOT:
                new[: old.shape[0], : old.shape[1]] = old
            else:
                new[: old.shape[0]] = old
            self._arrays[name] = new

    def _show(self) -> None:
        """Show the rows in use as attributes."""
        for name, array in self._arrays.items():
            setattr(self, name, array[: self._size])
