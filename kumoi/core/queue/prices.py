"""What work costs, for budgets. Money is integer micro-yen, rounded up for each resource."""

from dataclasses import dataclass

from kumoi.core.queue.fairness import Amounts

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


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
