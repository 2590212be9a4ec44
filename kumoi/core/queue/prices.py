"""What work costs, for budgets. Money is integer micro-yen, rounded up for each resource."""

from dataclasses import dataclass

from kumoi.core.metering import PERIOD_US
from kumoi.core.placement.snapshot import Holding
from kumoi.core.queue.fairness import Amounts, amounts_of
from kumoi.model.time import US_PER_S

_HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class Prices:
    """Micro-yen for an hour of a core, of a GiB of memory, of a whole device of a pool."""

    cpu_core_hour_microyen: int = 0
    memory_gib_hour_microyen: int = 0
    device_hour_microyen: int = 0


FREE = Prices()


def price_microyen(prices: Prices, amounts: Amounts, time_s: int) -> int:
    """What it costs to hold `amounts` for `time_s`."""
    return (
        _up(amounts.cpu_milli * time_s * prices.cpu_core_hour_microyen, 1_000 * _HOUR_S)
        + _up(amounts.memory_bytes * time_s * prices.memory_gib_hour_microyen, (1 << 30) * _HOUR_S)
        + _up(amounts.device_milli * time_s * prices.device_hour_microyen, 1_000 * _HOUR_S)
    )


def promised_microyen(prices: Prices, holding: Holding, now_us: int) -> int:
    """The most that live work may still cost beyond what is metered: from the last full hour to its limit."""
    metered_us = max(holding.placed_us, now_us // PERIOD_US * PERIOD_US)
    time_s = _up(max(holding.ends_us - metered_us, 0), US_PER_S)
    return price_microyen(prices, amounts_of(holding), time_s)


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
