"""Devices for the several requests of one task: each its own, so that none takes another's."""

from collections.abc import Sequence


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
