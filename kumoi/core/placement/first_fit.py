"""First fit: each task, in order, goes to the first host (by id) that can take it."""

from collections import Counter
from itertools import groupby

from kumoi.core.placement.fit import Room, refusal_reason
from kumoi.core.placement.snapshot import Placed, Plan, Refused, Snapshot, TaskView, snapshot_digest

POLICY = "first_fit"


def place(snapshot: Snapshot, now_us: int, seed: int) -> Plan:
    """Decide for every waiting task. Deterministic: the seed is recorded, first fit draws nothing from it.

    Tasks of a gang follow each other in the snapshot; they are placed all together or all refused.
    """
    rooms = {host.id: Room(host) for host in sorted(snapshot.hosts, key=lambda host: host.id)}
    placed: list[Placed] = []
    refused: list[Refused] = []
    for _, group in groupby(snapshot.tasks, key=lambda task: task.gang or task.id):
        members, lacking = _place_group(rooms, list(group))
        placed += members
        refused += lacking
    return Plan(POLICY, seed, now_us, snapshot_digest(snapshot), tuple(placed), tuple(refused))


def _place_group(rooms: dict[str, Room], group: list[TaskView]) -> tuple[list[Placed], list[Refused]]:
    taken: list[Placed] = []
    undo: dict[str, Room] = {}
    for task in group:
        room, candidates, reasons = _first_room(rooms, task)
        if room is None:
            rooms.update(undo)
            return [], [Refused(member.id, reasons) for member in group]
        if len(group) > 1:
            undo.setdefault(room.host.id, _copy(room))
        taken.append(Placed(task.id, room.host.id, room.take(task), candidates))
    return taken, []


def _first_room(
    rooms: dict[str, Room], task: TaskView
) -> tuple[Room | None, int, tuple[tuple[str, int], ...]]:
    """The first host that can take the task, how many could, and why the others cannot."""
    reasons: Counter[str] = Counter()
    first: Room | None = None
    candidates = 0
    for room in rooms.values():
        reason = refusal_reason(room, task)
        if reason is not None:
            reasons[reason] += 1
            continue
        candidates += 1
        first = first or room
    return first, candidates, tuple(sorted(reasons.items()))


def _copy(room: Room) -> Room:
    copy = Room(room.host)
    copy.cpu_milli, copy.memory_bytes = room.cpu_milli, room.memory_bytes
    copy.devices, copy.tenants = list(room.devices), set(room.tenants)
    return copy
