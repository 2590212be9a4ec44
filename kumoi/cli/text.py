"""Texts of others on a terminal, and numbers as people write them."""

import re
import unicodedata
from typing import Final

import click

from kumoi.cli.language import _

_BYTES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z]*)")


def text_clean(text: str) -> str:
    """`text` on one line and without what would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def text_width(text: str) -> int:
    """How many columns of a terminal a text takes: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def text_pad(text: str, columns: int) -> str:
    """`text` with blanks up to so many columns."""
    return text + " " * (columns - text_width(text))


def bytes_show(size_bytes: int) -> str:
    """`1.5 GiB`"""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def cpu_parse(text: str) -> int:
    """Thousandths of a CPU: `2`, `0.5` or `500m`."""
    amount, unit = _split(text)
    if unit not in {"", "m"}:
        raise click.BadParameter(_("{text} is no amount of CPU; write 2, 0.5 or 500m").format(text=text))
    return round(amount * (1_000 if not unit else 1))


def memory_parse(text: str) -> int:
    """Bytes: `512Mi`, `2G` or `1048576`."""
    amount, unit = _split(text)
    factor = {**_BYTES, **_BINARY}.get(unit.lower().removesuffix("b"))
    if factor is None:
        raise click.BadParameter(_("{text} is no amount of memory; write 512Mi or 2G").format(text=text))
    return round(amount * factor)


def duration_parse(text: str) -> float:
    """Seconds: `90`, `15m`, `2h` or `1d`."""
    amount, unit = _split(text)
    factor = _SECONDS.get(unit)
    if factor is None:
        raise click.BadParameter(_("{text} is no duration; write 90, 15m, 2h or 1d").format(text=text))
    return amount * factor


def _split(text: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise click.BadParameter(_("{text} is no amount: a number and a unit").format(text=text))
    return float(match[1]), match[2]
