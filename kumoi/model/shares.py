"""What organizations may hold: quotas (ceilings), rates and budgets (yen), reservations (held, dated).

Money is integer micro-yen.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import Id, Name

AMOUNT_MAX = (1 << 53) - 1
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Time = Annotated[str, Meta(max_length=40, description="RFC 3339")]


class QuotaResource(StrEnum):
    """What a quota can limit: what live attempts hold at once."""

    CPU_MILLI = "cpu_milli"
    MEMORY_BYTES = "memory_bytes"
    DISK_BYTES = "disk_bytes"
    DEVICE_MILLI = "device_milli"
    TASKS = "tasks"


class QuotaWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that an organization may hold of a resource. Less than it holds now ends nothing."""

    most: Amount


class Quota(Struct, frozen=True):
    """A ceiling and what is held under it."""

    organization: Id
    resource: QuotaResource
    most: int
    used: int
    version: int


class RateWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of a pool."""

    cpu_core_hour_microyen: Amount = 0
    memory_gib_hour_microyen: Amount = 0
    device_hour_microyen: Amount = 0


class Rate(Struct, frozen=True):
    """Prices of a pool, in micro-yen for an hour of a core, a GiB of memory, a whole device."""

    pool: Id
    cpu_core_hour_microyen: int
    memory_gib_hour_microyen: int
    device_hour_microyen: int
    version: int


class BudgetWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that an organization's new work may spend in a calendar month (Japan time)."""

    month_microyen: Amount


class Budget(Struct, frozen=True):
    """What an organization may spend in a month, what its metered use cost, what live work may still cost.

    Without a budget `month_microyen` is null, `version` is 0, and the costs are not reckoned.
    """

    organization: Id
    month: str
    month_microyen: int | None
    spent_microyen: int
    promised_microyen: int
    version: int


class FairShareWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """Twice the weight is twice the share where organizations compete."""

    weight: Annotated[int, Meta(ge=1, le=1_000)]


class FairShare(Struct, frozen=True):
    """The weight of an organization; version 0 is the one that all begin with."""

    organization: Id
    weight: int
    version: int


class ReservationCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """Whole hosts of a pool, held for the organization from `start_at` until `end_at`."""

    name: Name
    pool: Name
    host_count: Annotated[int, Meta(ge=1, le=10_000)]
    start_at: Time
    end_at: Time


class Reservation(Struct, frozen=True):
    """A reservation. Its hosts take only work that ends before it starts, then only the organization's."""

    id: Id
    organization: Id
    name: Name
    pool: Id
    host_count: int
    start_at: str
    end_at: str
    state: str
    created_at: str
    version: int
