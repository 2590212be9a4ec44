"""The account of capacity: device models, plans, and what they amount to in FLOPS, day by day."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from kumoi.model.ids import END, Id, Name

GFLOPS_PER_EFLOPS: Final = 10**9
DEVICE_GFLOPS_MAX: Final = 10**8
PLAN_COUNT_MAX: Final = 10**6
MODEL_NAME_PATTERN: Final = rf"^[A-Za-z0-9][A-Za-z0-9 ._+-]{{0,126}}[A-Za-z0-9+]{END}"

ModelName = Annotated[
    str, Meta(pattern=MODEL_NAME_PATTERN, description="a device model as the catalogue names it: H200")
]
Day = Annotated[str, Meta(pattern=rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{END}", description="day in Japan")]
Gflops = Annotated[int, Meta(ge=0, le=DEVICE_GFLOPS_MAX)]
Sha256 = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{END}", description="SHA-256 in hexadecimal")]


class DeviceModelWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """What a datasheet says of a model. `fp16_dense_gflops` is the peak of half precision without sparsity.

    `fp16_sparse_gflops` is what the same datasheet gives with sparsity, 0 where it gives nothing; the two are
    held against each other. Only of built-in models it may be null. With `datasheet_sha256` the model is
    attested, and counts.
    """

    vendor: Annotated[str, Meta(min_length=1, max_length=63)]
    fp16_dense_gflops: Gflops
    memory_bytes: Annotated[int, Meta(ge=0, le=1 << 50)]
    datasheet: Annotated[str, Meta(min_length=1, max_length=400, description="title and publisher's URL")]
    datasheet_sha256: Sha256 | None = None
    fp16_sparse_gflops: Gflops | None = None
    kind: Name = "gpu"


class DeviceModel(Struct, frozen=True):
    """A device model. `built_in` until an operator writes it; `attested` with its datasheet's digest."""

    name: ModelName
    vendor: str
    kind: Name
    fp16_dense_gflops: int
    fp16_sparse_gflops: int | None
    memory_bytes: int
    datasheet: str
    datasheet_sha256: str | None
    attested: bool
    built_in: bool
    version: int


class CapacityPlanCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """`count` devices of a model are to serve at a site from `service_start` to the end of `service_end`."""

    site: Id
    model: ModelName
    count: Annotated[int, Meta(ge=1, le=PLAN_COUNT_MAX)]
    service_start: Day
    service_end: Day | None = None
    note: Annotated[str, Meta(max_length=400)] = ""


class CapacityPlan(Struct, frozen=True):
    """Devices that are to serve at a site."""

    id: Id
    site: Id
    model: ModelName
    count: int
    service_start: Day
    service_end: Day | None
    note: str
    created_at: str
    version: int


class CapacitySource(StrEnum):
    """Whether capacity is in a plan, or was there."""

    PLANNED = "planned"
    LIVE = "live"


class Finding(StrEnum):
    """What the figures say of a criterion; people decide (policy chapter 3 section 2)."""

    MET = "met"
    UNMET = "unmet"
    UNCLEAR = "unclear"
    """Days were not measured, or the figures that it takes are not attested."""
    OPEN = "open"
    """Not due yet."""


class CapacityClass(Struct, frozen=True):
    """Devices that are alike. Live: those of the last day measured in the period; `healthy` are fit to work.

    `fp16_dense_gflops` is of one device, and 0 for a model that the catalogue does not have.
    """

    source: CapacitySource
    site: Id
    kind: str
    model: str
    service_start: Day
    service_end: Day | None
    count: int
    healthy: int
    fp16_dense_gflops: int
    gflops: int
    attested: bool


class CapacityStep(Struct, frozen=True):
    """The same peak on every day from `since` to `until`; nulls where nobody measured."""

    since: Day
    until: Day
    attested_gflops: int | None
    unattested_gflops: int | None


class CapacityLeast(Struct, frozen=True):
    """The least of a period, and the first day that it was so little."""

    day: Day
    attested_gflops: int
    unattested_gflops: int


class CapacitySeries(Struct, frozen=True):
    """A peak day by day."""

    steps: tuple[CapacityStep, ...]
    least: CapacityLeast | None
    unmeasured_days: int


class CapacityMeasure(Struct, frozen=True):
    """A criterion against a plan or against what was there.

    `at` is the peak when it is due, or on the last day measured where that is earlier; `least` is the least
    from then to the end of the period.
    """

    at: CapacityLeast | None
    least: CapacityLeast | None
    unmeasured_days: int
    finding: Finding


class CapacityCriterion(Struct, frozen=True):
    """A total of services that start from `start_since` (null: ever) to `due`, to be kept from then on."""

    number: int
    threshold_gflops: int
    start_since: Day | None
    due: Day
    planned: CapacityMeasure
    live: CapacityMeasure


class Capacity(Struct, frozen=True):
    """The account of a period. `classes_left_out` are more than are told."""

    since: Day
    until: Day
    today: Day
    count_from: Day
    planned: CapacitySeries
    live: CapacitySeries
    criteria: tuple[CapacityCriterion, ...]
    classes: tuple[CapacityClass, ...]
    classes_left_out: int


def eflops_format(gflops: int, threshold_gflops: int | None = None, digits: int = 2) -> str:
    """EFLOPS with `digits` decimals, rounded half up; with more where rounding would hide a shortfall.

    759,859,200 GFLOPS are "0.76"; 749,999,999 are "0.749999999" against a threshold of 750,000,000.
    """
    while True:
        unit = 10 ** (9 - digits)
        rounded = (gflops + unit // 2) // unit * unit
        hides = threshold_gflops is not None and gflops < threshold_gflops <= rounded
        if not hides or digits == 9:
            whole, part = divmod(rounded // unit, 10**digits)
            return f"{whole}.{part:0{digits}d}"
        digits += 1
