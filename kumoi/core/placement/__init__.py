"""Placement: a pure function from a snapshot of the region to a plan.

`place(snapshot, now_us, seed)` decides; `store.placement.plan_apply` applies what still holds, per host
generation, and the rest is decided again.
"""

from kumoi.core.placement.first_fit import POLICY, place
from kumoi.core.placement.fit import Room, refusal_reason
from kumoi.core.placement.snapshot import (
    DeviceView,
    HostView,
    Placed,
    Plan,
    Refused,
    Snapshot,
    TaskView,
    snapshot_digest,
)

__all__ = [
    "POLICY",
    "DeviceView",
    "HostView",
    "Placed",
    "Plan",
    "Refused",
    "Room",
    "Snapshot",
    "TaskView",
    "place",
    "refusal_reason",
    "snapshot_digest",
]
