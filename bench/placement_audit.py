"""Replays what was placed, in plain numbers and with nothing of the program: was it allowed, was it forced?

Every placement is checked against CPU, memory, each GPU's thousandths, the model and the number of GPUs;
every refusal against every host. A host that could not take a kind of task cannot take it later either,
unless a task left it; so a refusal looks only at the hosts that one left since that kind was last refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from openb import WHOLE_MILLI, Host, Task


@dataclass(frozen=True, slots=True)
class Event:
    """A task arrives and is placed on `host` in `slots`, or refused (None); or event number `leaves` ends."""

    task: Task | None
    host: int | None = None
    slots: tuple[int, ...] = ()
    leaves: int | None = None


@dataclass(slots=True)
class _Room:
    host: Host
    cpu_milli: int = field(init=False)
    memory_mib: int = field(init=False)
    gpus: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.cpu_milli, self.memory_mib = self.host.cpu_milli, self.host.memory_mib
        self.gpus = [WHOLE_MILLI] * self.host.gpus

    def reason(self, task: Task) -> str | None:
        """Why the task does not fit; None if it does."""
        if task.cpu_milli > self.cpu_milli:
            return "CPU"
        if task.memory_mib > self.memory_mib:
            return "memory"
        if task.gpus and task.models is not None and self.host.model not in task.models:
            return "model"
        if task.gpus and sum(left >= task.gpu_milli for left in self.gpus) < task.gpus:
            return "GPUs"
        return None


class AuditFailed(Exception):
    """What was done was not allowed, or not forced."""


def audit(hosts: Sequence[Host], events: Sequence[Event]) -> tuple[int, int]:
    """Replay from empty hosts; returns how many were placed and refused. AuditFailed with the first fault."""
    rooms = [_Room(host) for host in hosts]
    placed: dict[int, Event] = {}
    refused = 0
    left: list[int] = []
    looked: dict[Task, int] = {}
    for number, event in enumerate(events):
        if event.leaves is not None:
            gone = placed[event.leaves]
            _apply(rooms, gone, 1)
            left.append(gone.host or 0)
        elif event.host is not None:
            _check(number, rooms[event.host], event)
            _apply(rooms, event, -1)
            placed[number] = event
        elif event.task is not None:
            refused += 1
            since = looked.get(event.task)
            candidates = range(len(rooms)) if since is None else left[since:]
            looked[event.task] = len(left)
            for index in candidates:
                if rooms[index].reason(event.task) is None:
                    raise AuditFailed(f"event {number} was refused and fits {rooms[index].host.name}")
    return len(placed), refused


def _check(number: int, room: _Room, event: Event) -> None:
    task = event.task
    if task is None:
        raise AuditFailed(f"event {number} places nothing")
    reason = room.reason(task)
    if reason is not None:
        raise AuditFailed(f"event {number} lacks {reason} on {room.host.name}")
    if len(set(event.slots)) != len(event.slots) or len(event.slots) != task.gpus:
        raise AuditFailed(f"event {number} has GPUs {event.slots} for {task}")
    for slot in event.slots:
        if not 0 <= slot < len(room.gpus) or room.gpus[slot] < task.gpu_milli:
            raise AuditFailed(f"event {number} overfills GPU {slot} of {room.host.name}")


def _apply(rooms: list[_Room], event: Event, sign: int) -> None:
    if event.task is None or event.host is None:
        return
    room = rooms[event.host]
    room.cpu_milli += sign * event.task.cpu_milli
    room.memory_mib += sign * event.task.memory_mib
    for slot in event.slots:
        room.gpus[slot] += sign * event.task.gpu_milli
