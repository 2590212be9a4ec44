"""Devices for the several requests of one task: each its own, so that none takes another's."""

from collections.abc import Sequence
from typing import Protocol

from kumoi.model.jobs import DeviceRequest


class Device(Protocol):
    """What a request looks at."""

    @property
    def kind(self) -> str:
        """As in requests: `gpu`."""

    @property
    def model(self) -> str:
        """What its maker calls it."""

    @property
    def partition(self) -> str:
        """Its profile if it is a part, else empty."""


def device_serves(device: Device, wish: DeviceRequest) -> bool:
    """Whether a device is of the kind, model and partition that is asked for."""
    return (
        device.kind == wish.kind
        and (not wish.models or device.model in wish.models)
        and device.partition == (wish.partition or "")
    )


def devices_choose(
    devices: Sequence[Device], free_milli: Sequence[int], wishes: Sequence[DeviceRequest]
) -> tuple[tuple[int, int], ...] | None:
    """(index, thousandths) for all requests together, or None where that cannot be.

    Requests that name models choose first, then the largest; each prefers the devices with the least free.
    """
    wanted: list[list[int]] = []
    millis: list[int] = []
    for wish in sorted(wishes, key=lambda request: (not request.models, -request.milli)):
        serving = [
            index
            for index, device in enumerate(devices)
            if free_milli[index] >= wish.milli and device_serves(device, wish)
        ]
        if len(serving) < wish.count:
            return None
        serving.sort(key=lambda index: (free_milli[index], index))
        wanted += [serving] * wish.count
        millis += [wish.milli] * wish.count
    chosen = devices_match(wanted)
    return None if chosen is None else tuple(zip(chosen, millis, strict=True))


def devices_match(wanted: Sequence[Sequence[int]]) -> list[int] | None:
    """A slot for each entry out of those that it lists, the preferred first; None if there are too few.

    Kuhn's algorithm: an entry whose slots are all taken makes their holders move on to others.
    """
    holder: dict[int, int] = {}
    for entry in range(len(wanted)):
        if not _claim(entry, wanted, holder, set()):
            return None
    slot_of = {entry: slot for slot, entry in holder.items()}
    return [slot_of[entry] for entry in range(len(wanted))]


def _claim(entry: int, wanted: Sequence[Sequence[int]], holder: dict[int, int], tried: set[int]) -> bool:
    """Give the entry a slot, its first free one if there is any."""
    for slot in wanted[entry]:
        if slot not in holder:
            holder[slot] = entry
            return True
    for slot in wanted[entry]:
        if slot not in tried:
            tried.add(slot)
            if _claim(holder[slot], wanted, holder, tried):
                holder[slot] = entry
                return True
    return False
