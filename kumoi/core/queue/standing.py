"""What the order is decided by: how an organization stands, and who holds what of a pool."""

from dataclasses import dataclass

from kumoi.core.placement.snapshot import HostView
from kumoi.core.queue.fairness import NOTHING, Amounts, amounts_of
from kumoi.model.jobs import DEVICE_MILLI

CLASS_COUNT = 3
NO_LIMITS: tuple[None, None, None, None, None] = (None,) * 5


@dataclass(frozen=True, slots=True)
class Standing:
    """How an organization stands. `usage_s` is its decayed use of the pool in share-seconds, as of now.

    `quota_left` has the fields of `Amounts`, None where there is no quota. `budget_left_microyen` is what
    metered and promised use leave of the month's budget, None where there is none. What cannot be opened
    because the organization's key is withdrawn cannot be started either.
    """

    weight: int = 1
    usage_s: float = 0.0
    quota_left: tuple[int | None, int | None, int | None, int | None, int | None] = NO_LIMITS
    budget_left_microyen: int | None = None
    key_withdrawn: bool = False


class PoolUse:
    """What a pool has, and what each organization and each class (by rank) holds of it.

    Kept current by what changed: a host that changed leaves as it was and comes as it is.
    """

    def __init__(self) -> None:
        self.capacity = NOTHING
        self.by_organization: dict[str, Amounts] = {}
        self.by_class: list[Amounts] = [NOTHING] * CLASS_COUNT

    def host_enter(self, host: HostView) -> None:
        """The host counts, with all that lives on it."""
        self._count(host, 1)

    def host_leave(self, host: HostView) -> None:
        """The host, as it entered, does not count any more."""
        self._count(host, -1)

    def _count(self, host: HostView, sign: int) -> None:
        device_milli = DEVICE_MILLI * sum(device.healthy for device in host.devices)
        room = Amounts(host.cpu_milli, host.memory_bytes, host.disk_bytes, device_milli)
        self.capacity = self.capacity.plus(room.times(sign))
        for holding in host.holdings:
            amounts = amounts_of(holding).times(sign)
            held = self.by_organization.get(holding.organization_id, NOTHING).plus(amounts)
            self.by_organization[holding.organization_id] = held
            if not held.tasks:
                del self.by_organization[holding.organization_id]
            self.by_class[holding.class_rank] = self.by_class[holding.class_rank].plus(amounts)
