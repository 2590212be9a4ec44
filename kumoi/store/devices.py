"""Devices of hosts: written from what engines report, and what attempts hold of them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from kumoi.model.ids import IdKind
from kumoi.model.places import DeviceHealth
from kumoi.store.ids import ids_new
from kumoi.store.schema import AnyRow, attempt_devices, devices
from kumoi.store.writer import insert_many

GONE = "its host does not report it any more"
REPLACED = "another device took its place"
SPLIT = "it was partitioned anew"
_DETAIL_MAX = 400


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device as a health check found it. `physical_uuid` is its own, or that of what it is a part of."""

    uuid: str
    physical_uuid: str
    kind: str
    model: str
    partition: str
    memory_bytes: int
    paths: tuple[str, ...]
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DeviceHeld:
    """What an attempt holds of a device: `milli` thousandths, reached through `paths`."""

    uuid: str
    kind: str
    milli: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceChanges:
    """UUIDs: devices that are new, that became unhealthy or gone (with why), and that are healthy again."""

    added: tuple[str, ...]
    sick: Mapping[str, str]
    healed: tuple[str, ...]


_HELD = (
    select(
        attempt_devices.c.attempt_id, attempt_devices.c.milli, devices.c.uuid, devices.c.kind, devices.c.path
    )
    .join(devices, devices.c.id == attempt_devices.c.device_id)
    .where(attempt_devices.c.attempt_id.in_(bindparam("ids", expanding=True)))
    .order_by(devices.c.kind, devices.c.ordinal)
)
_UPDATE = (
    update(devices)
    .where(devices.c.id == bindparam("of_id"))
    .values({name: bindparam(name) for name in ("kind", "model", "partition", "physical_uuid")})
    .values({name: bindparam(name) for name in ("memory_bytes", "path", "health", "detail", "seen_us")})
)

_encode = msgspec.msgpack.Encoder().encode


def devices_held(connection: Connection, attempt_ids: Sequence[str]) -> dict[str, tuple[DeviceHeld, ...]]:
    """The devices that each attempt holds."""
    held: dict[str, tuple[DeviceHeld, ...]] = {}
    for row in connection.execute(_HELD, {"ids": list(attempt_ids)}):
        paths = tuple(path for path in row.path.split(",") if path)
        device = DeviceHeld(row.uuid, row.kind, row.milli, paths)
        held[row.attempt_id] = (*held.get(row.attempt_id, ()), device)
    return held


def devices_digest(seen: Iterable[DeviceSeen]) -> str:
    """What tells that nothing changed since the last report; empty for no devices."""
    listed = sorted(seen, key=lambda device: device.uuid)
    return hashlib.sha256(_encode(listed)).hexdigest() if listed else ""


def devices_see(
    connection: Connection, host_id: str, seen: Sequence[DeviceSeen], now_us: int, cell: int
) -> DeviceChanges:
    """Write the devices that a host has now: new ones are inserted, silent ones are gone, none is deleted.

    A device's service starts when it is first seen. Partitions share the start of the device that they are
    parts of; a device that takes the place of a gone one of its model takes over its start.
    """
    rows = connection.execute(select(devices).where(devices.c.host_id == host_id)).all()
    known = {row.uuid: row for row in rows}
    reported = {device.uuid: device for device in seen}
    changes: list[dict[str, Any]] = []
    sick: dict[str, str] = {}
    healed: list[str] = []
    for uuid, device in reported.items():
        row = known.get(uuid)
        if row is None:
            if not device.healthy:
                sick[uuid] = device.detail
        elif any(getattr(row, name) != value for name, value in _facts(device).items()):
            changes.append({"of_id": row.id, **_facts(device), "seen_us": now_us})
            if not device.healthy and row.health == DeviceHealth.HEALTHY:
                sick[uuid] = device.detail
            elif device.healthy and row.health != DeviceHealth.HEALTHY:
                healed.append(uuid)
    present = {device.physical_uuid for device in seen}
    for row in _leaving(rows, reported):
        split = row.physical_uuid in present
        changes.append(_row_facts(row) | {"health": DeviceHealth.GONE, "detail": SPLIT if split else GONE})
        if not split:
            sick[row.uuid] = GONE
    if changes:
        connection.execute(_UPDATE, sorted(changes, key=lambda change: str(change["of_id"])))
    added = [device for uuid, device in reported.items() if uuid not in known]
    _devices_insert(connection, host_id, rows, added, present, now_us, cell)
    return DeviceChanges(tuple(device.uuid for device in added), sick, tuple(healed))


def _leaving(rows: Sequence[AnyRow], reported: Mapping[str, DeviceSeen]) -> Iterator[AnyRow]:
    return (row for row in rows if row.uuid not in reported and row.health != DeviceHealth.GONE)


def devices_new(
    host_id: str, seen: Sequence[DeviceSeen], now_us: int, cell: int
) -> tuple[list[dict[str, Any]], DeviceChanges]:
    """The rows of the devices of a host that is new itself, to be inserted with it."""
    rows = _device_rows(host_id, seen, {}, dict.fromkeys((device.uuid for device in seen), now_us), cell)
    sick = {device.uuid: device.detail for device in seen if not device.healthy}
    return rows, DeviceChanges(tuple(device.uuid for device in seen), sick, ())


def _devices_insert(
    connection: Connection,
    host_id: str,
    rows: Sequence[AnyRow],
    added: Sequence[DeviceSeen],
    present: set[str],
    now_us: int,
    cell: int,
) -> None:
    if not added:
        return
    starts = _Starts(rows, present, now_us)
    ordinals: dict[str, int] = {}
    for row in rows:
        ordinals[row.kind] = max(ordinals.get(row.kind, -1), row.ordinal)
    start_us = {device.uuid: starts.of(device) for device in added}
    inserted = _device_rows(host_id, added, ordinals, start_us, cell)
    insert_many(connection, devices, [row | {"seen_us": now_us} for row in inserted])
    if starts.replaced:
        connection.execute(
            update(devices)
            .where(devices.c.host_id == host_id, devices.c.physical_uuid.in_(starts.replaced))
            .values(service_start_us=None, detail=REPLACED)
        )


def _device_rows(
    host_id: str,
    added: Sequence[DeviceSeen],
    ordinals: dict[str, int],
    start_us: Mapping[str, int],
    cell: int,
) -> list[dict[str, Any]]:
    """Rows with the ordinals that follow those of their kind."""
    rows = []
    for device_id, device in zip(ids_new(IdKind.DEVICE, len(added), cell), added, strict=True):
        ordinals[device.kind] = ordinals.get(device.kind, -1) + 1
        facts = _facts(device) | {"uuid": device.uuid, "ordinal": ordinals[device.kind]}
        started = {"seen_us": start_us[device.uuid], "service_start_us": start_us[device.uuid]}
        rows.append({"id": device_id, "host_id": host_id, **facts, **started})
    return rows


class _Starts:
    """When the service of new devices of one host began."""

    def __init__(self, rows: Sequence[AnyRow], present: set[str], now_us: int) -> None:
        self.replaced: list[str] = []
        self._now_us = now_us
        self._known: dict[str, int] = {}
        self._places: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            if row.service_start_us is None:
                continue
            earlier = self._known.get(row.physical_uuid, row.service_start_us)
            self._known[row.physical_uuid] = min(earlier, row.service_start_us)
            left = self._places.setdefault((row.kind, row.model), [])
            if row.physical_uuid not in present and row.physical_uuid not in left:
                left.append(row.physical_uuid)

    def of(self, device: DeviceSeen) -> int:
        """The start of a new device: its own from before, that of the one it replaces, or now."""
        if device.physical_uuid not in self._known:
            left = self._places.get((device.kind, device.model))
            start_us = self._now_us
            if left:
                self.replaced.append(left.pop(0))
                start_us = self._known[self.replaced[-1]]
            self._known[device.physical_uuid] = start_us
        return self._known[device.physical_uuid]


def _facts(device: DeviceSeen) -> dict[str, Any]:
    return {
        "kind": device.kind,
        "model": device.model,
        "partition": device.partition,
        "physical_uuid": device.physical_uuid,
        "memory_bytes": device.memory_bytes,
        "path": ",".join(device.paths),
        "health": DeviceHealth.HEALTHY if device.healthy else DeviceHealth.UNHEALTHY,
        "detail": device.detail[:_DETAIL_MAX],
    }


def _row_facts(row: AnyRow) -> dict[str, Any]:
    names = ("kind", "model", "partition", "physical_uuid", "memory_bytes", "path", "seen_us")
    return {"of_id": row.id} | {name: getattr(row, name) for name in names}
