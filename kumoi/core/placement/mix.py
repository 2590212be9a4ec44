"""The mix of tasks that lately arrived, and how many left meanwhile: what the default policy learns from."""

from collections import Counter, deque

from kumoi.core.placement.shapes import Shape

WINDOW_ARRIVALS = 4_096
FIRST_ARRIVALS = 512
HOSTS_PER_FIRST = 8
GROWTH = 4
LOOK_PER_HOST = 3


class Mix:
    """The last arrivals, at most `WINDOW_ARRIVALS`, and the departures since the last look."""

    def __init__(self) -> None:
        self._shapes: deque[Shape] = deque(maxlen=WINDOW_ARRIVALS)
        self._arrived = 0
        self._looked = 0
        self._left = 0

    def arrive(self, shape: Shape) -> None:
        """A task arrived, whether or not there was room for it."""
        self._arrived += 1
        self._shapes.append(shape)

    def leave(self) -> None:
        """A task departed."""
        self._left += 1

    def is_due(self, hosts: int) -> bool:
        """Whether enough arrived for another look.

        After `FIRST_ARRIVALS` (more where there are many hosts), then each time that `GROWTH` times as many
        have arrived: often while little is known. Later each time that the window is all new or, if that is
        more, `LOOK_PER_HOST` came for each host: every look has all costs made anew.
        """
        wait = min((GROWTH - 1) * self._looked, max(WINDOW_ARRIVALS, LOOK_PER_HOST * hosts))
        return self._arrived - self._looked >= max(FIRST_ARRIVALS, hosts // HOSTS_PER_FIRST, wait)

    def look(self) -> tuple[Counter[Shape], float]:
        """How many of each shape are in the window, and the turnover since the last look.

        The turnover is departures per arrival, at most 1: 0 while room is filled for good, 1 when as many
        leave as come.
        """
        turnover = min(1.0, self._left / max(1, self._arrived - self._looked))
        self._looked, self._left = self._arrived, 0
        return Counter(self._shapes), turnover
