"""Machines that a provider lends: how a pool's hosts follow demand, and which there are."""

from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import Id, Name

MACHINES_MAX = 1_000
"""Machines of a pool at a time."""
MICROYEN_MAX = 10**15
Count = Annotated[int, Meta(ge=0, le=MACHINES_MAX)]
Seconds = Annotated[int, Meta(ge=0, le=86_400)]
Microyen = Annotated[int, Meta(ge=0, le=MICROYEN_MAX)]
ProviderWord = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._:/+-]+$(?!\n)")]
"""What a provider calls its images, sizes and networks."""


class AutoscaleWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """How many machines a pool borrows from a provider.

    All are of one `size` with one `image`; `host_*` is what one offers to work. A machine takes `boot_s`
    from being asked for to taking work. `headroom_milli` thousandths of a host stay free (null: a whole one);
    demand must last `patience_s` before a machine is asked for (null: a boot), and one goes only after as
    many were not needed for `hold_s` (null: four boots). Never more than `budget_hour_microyen` pays for at
    `host_hour_microyen` a machine.
    """

    provider: Name
    image: ProviderWord
    size: ProviderWord
    host_cpu_milli: Annotated[int, Meta(ge=1, le=10_000_000)]
    host_memory_bytes: Annotated[int, Meta(ge=1, le=1 << 50)]
    boot_s: Annotated[int, Meta(ge=1, le=3_600)]
    hosts_max: Count
    hosts_min: Count = 0
    host_disk_bytes: Annotated[int, Meta(ge=0, le=1 << 60)] = 0
    host_devices: Annotated[int, Meta(ge=0, le=64)] = 0
    network: ProviderWord | None = None
    headroom_milli: Annotated[int, Meta(ge=0, le=1_000 * MACHINES_MAX)] | None = None
    patience_s: Seconds | None = None
    hold_s: Seconds | None = None
    host_hour_microyen: Microyen = 0
    budget_hour_microyen: Microyen | None = None


class Autoscale(Struct, frozen=True):
    """How a pool's machines follow demand, and what was decided last.

    `machines` are paid for now, `needed` would hold what runs and waits with headroom. `code` says why
    there are no more and no fewer (empty before the first decision), `reason` is the sentence made of it and
    of `figures` in the reader's language; `digest` names everything that this was decided on (SHA-256). After
    `failures` in a row nothing is asked for before `retry_at`.
    """

    pool: Id
    settings: AutoscaleWrite
    machines: int
    needed: int
    code: str
    figures: dict[str, int]
    digest: str
    decided_at: str | None
    failures: int
    retry_at: str | None
    detail: str
    version: int
    reason: str = ""


class Machine(Struct, frozen=True):
    """A machine of a provider. Its host has the same name."""

    id: Id
    name: Name
    pool: Id
    provider: Name
    provider_ref: str
    state: str
    detail: str
    host: Id | None
    host_hour_microyen: int
    requested_at: str
    ready_at: str | None
    ended_at: str | None
    version: int
