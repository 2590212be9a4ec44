"""`kumoi`, the default policy: a task goes where the room it takes is worth least to the tasks that come.

With X the worth of a host's device remainders, c its free CPU and n its free devices, its room is worth

    weight of the model * (mean over k of min(X, rate[k] * c) + worth of n free devices beside c)

A device without CPU beside it is worth nothing: that is the minimum, over eight guesses of what a core will
serve. Prices come from the mix of the last arrivals; as turnover grows they lean from exact packing to
filling what is begun. Costs are whole multiples of a grain; on equal costs the lowest row is taken.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from kumoi.core.placement.host_table import HostTable, Ints, Rows
from kumoi.core.placement.mix import Mix
from kumoi.core.placement.policies import Scorer, capacity_most
from kumoi.core.placement.prices import (
    PARTS,
    RATE_SHIFT,
    RATES,
    WEIGHT_ONE,
    Prices,
    prices_make,
    prices_unknown,
)
from kumoi.core.placement.shapes import WHOLE_MILLI, Shape

_WEIGHT_SHIFT = WEIGHT_ONE.bit_length() - 1
_RATES_SHIFT = RATES.bit_length() - 1
_CORE_MILLI = 1_000
_NO_FIT = 1 << 40
_BEFORE_AFTER: Ints = np.array([[0], [1]])
"""How often the task is on the host: what it is multiplied with has a line before the task and one after."""


class Kumoi:
    """The policy on one table. It knows the hosts, and of tasks only what came and went so far."""

    name = "kumoi"

    def __init__(self, table: HostTable) -> None:
        self._table = table
        self._mix = Mix()
        self._prices: Prices | None = None
        self._scorer = KumoiScorer(table, self._prices_now())

    def scorer(self) -> Scorer:
        """See `Policy`; takes note of models, and before any prices of larger hosts, that came since."""
        prices = self._prices_now()
        if self._scorer.prices != prices or self._scorer.models != self._table.models:
            self._scorer = KumoiScorer(self._table, prices)
        return self._scorer

    def learn(self, shape: Shape) -> None:
        """Remember an arrival."""
        self._mix.arrive(shape)

    def leave(self, _shape: Shape, /) -> None:
        """Count a departure."""
        self._mix.leave()

    def refresh_due(self) -> bool:
        """See `Mix.is_due`. The more hosts, the more arrivals: so that each costs as little."""
        return self._mix.is_due(len(self._table))

    def refresh(self) -> None:
        """Draw prices from the mix. They stay as they are while nobody asks for devices."""
        counts, turnover = self._mix.look()
        self._prices = prices_make(counts, turnover, _gpu_milli_by_model(self._table)) or self._prices

    def state(self) -> bytes:
        """The prices; empty before there are any."""
        return b"" if self._prices is None else msgspec.msgpack.encode(self._prices, order="deterministic")

    def state_put(self, state: bytes) -> None:
        """Take over prices, and count from now on."""
        self._prices = msgspec.msgpack.decode(state, type=Prices) if state else None
        self._mix.look()

    def _prices_now(self) -> Prices:
        return self._prices or prices_unknown(*capacity_most(self._table))


class KumoiScorer:
    """Costs at one set of prices."""

    def __init__(self, table: HostTable, prices: Prices) -> None:
        self._table = table
        self.prices = prices
        self.models = table.models
        parts = np.arange(WHOLE_MILLI + 1) * PARTS // WHOLE_MILLI
        self._parts: Ints = np.array(prices.parts, np.int64).take(parts)
        self._rates: Ints = np.array(prices.rates, np.int64)[:, None, None]
        self._wholes = _wholes_table(prices)
        weights = dict(prices.weights)
        # The last is for models that came after this scorer.
        self._weights: Ints = np.array(
            [WEIGHT_ONE, *(weights.get(model, WEIGHT_ONE) for model in self.models), WEIGHT_ONE], np.int64
        )
        self._losses: dict[int, Ints] = {}

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """See `Scorer`."""
        table = self._table
        cpu = table.cpu_free.take(rows) - shape.cpu_milli * _BEFORE_AFTER
        free = np.ascontiguousarray(table.slot_free.take(rows, axis=0).T)
        room, whole = np.add.reduce(self._parts.take(free)), table.whole_free.take(rows)
        if shape.is_shared:
            usable = table.slots_of(shape, rows) if table.has_mixed else free
            loss = np.minimum.reduce(self._loss(shape.gpu_milli).take(usable)) * _BEFORE_AFTER
            room, whole = room - (loss >> 1), whole - (loss & 1)
        else:
            count = shape.gpu_count * _BEFORE_AFTER
            room, whole = room - count * self.prices.parts[PARTS], whole - count
        worth = self._worth(cpu, room, whole)
        lost: Ints = worth[0] - worth[1]
        lost *= self._weights.take(table.host_model.take(rows), mode="clip")
        lost >>= _WEIGHT_SHIFT
        lost //= self.prices.grain
        return lost

    def slot(self, shape: Shape, row: int, slots: Sequence[int], /) -> int:
        """The slot whose part is worth least; of equal ones one in use before a free one, then the first."""
        loss = self._loss(shape.gpu_milli).take(self._table.slot_free[row].take(slots))
        return slots[int(loss.argmin())]

    def _worth(self, cpu: Ints, room: Ints, whole: Ints) -> Ints:
        """What rooms with so much free CPU, device worth and whole devices are worth."""
        served = self._rates * cpu
        served >>= RATE_SHIFT
        np.minimum(served, room, out=served)
        worth: Ints = np.add.reduce(served)
        worth >>= _RATES_SHIFT
        if self._wholes.size > 1:
            devices, cores = self._wholes.shape
            least = np.minimum(whole, devices - 1)
            least *= cores
            least += np.minimum(cpu // _CORE_MILLI, cores - 1)
            worth += self._wholes.take(least)
        return worth

    def _loss(self, milli: int) -> Ints:
        """What a slot is worth less without `milli`, doubled, plus 1 if it was free; by what is left in it.

        A lot if it does not fit.
        """
        loss = self._losses.get(milli)
        if loss is None:
            loss = np.full(WHOLE_MILLI + 1, _NO_FIT, np.int64)
            loss[milli:] = 2 * (self._parts[milli:] - self._parts[: WHOLE_MILLI + 1 - milli])
            loss[WHOLE_MILLI] += 1
            self._losses[milli] = loss
        return loss


def _wholes_table(prices: Prices) -> Ints:
    """The worth of at least n free devices beside at least c free cores, [n, c]."""
    devices = max((entry[0] for entry in prices.wholes), default=0)
    cores = max((entry[1] for entry in prices.wholes), default=0)
    worth = np.zeros((devices + 1, cores + 1), np.int64)
    for least_devices, least_cores, value in prices.wholes:
        worth[least_devices:, least_cores:] += value
    return worth


def _gpu_milli_by_model(table: HostTable) -> dict[str, int]:
    """Capacity of the hosts by device model."""
    slots = np.bincount(
        table.slot_model[table.active].ravel().astype(np.int64), minlength=len(table.models) + 1
    )
    return {model: int(slots[code]) * WHOLE_MILLI for code, model in enumerate(table.models, start=1)}
