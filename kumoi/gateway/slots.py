"""Which replica gets the next request: the least loaded that has a free slot, in constant time."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Slots(Generic[T]):
    """Members with a number of requests each, at most `limit`; those with equally few take turns.

    Members are kept by load, so taking and giving back cost the same for two replicas and for a thousand.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._loads: dict[T, int] = {}
        self._levels: list[dict[T, None]] = [{}]
        self._lowest = 0

    def __len__(self) -> int:
        return len(self._loads)

    def __contains__(self, member: T) -> bool:
        return member in self._loads

    def join(self, member: T, load: int) -> None:
        """Let a member take requests; it has `load` already."""
        assert member not in self._loads
        self._put(member, load)

    def leave(self, member: T) -> None:
        """Give it no more; a member that is not there is fine."""
        load = self._loads.pop(member, None)
        if load is not None:
            del self._levels[load][member]

    def take(self) -> T | None:
        """The least loaded member, now with one more; None if none has a free slot."""
        levels = self._levels
        while self._lowest < len(levels) and not levels[self._lowest]:
            self._lowest += 1
        if self._lowest >= min(self.limit, len(levels)):
            return None
        member = next(iter(levels[self._lowest]))
        load = self._lowest
        del levels[load][member]
        self._put(member, load + 1)
        return member

    def give(self, member: T) -> None:
        """One request of a member has ended; nothing happens if the member left."""
        load = self._loads.get(member)
        if load:
            del self._levels[load][member]
            self._put(member, load - 1)

    def _put(self, member: T, load: int) -> None:
        while len(self._levels) <= load:
            self._levels.append({})
        self._levels[load][member] = None
        self._loads[member] = load
        self._lowest = min(self._lowest, load)
