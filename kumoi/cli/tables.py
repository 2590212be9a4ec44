"""Tables for people. Imported only where standard output is a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kumoi.cli.states import state_show
from kumoi.cli.text import text_clean

_STYLES = {
    "succeeded": "green",
    "active": "green",
    "open": "green",
    "schedulable": "green",
    "up": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "refused": "red",
    "quarantined": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "draining": "yellow",
    "suspended": "yellow",
}


def table_print(titles: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[bool]) -> None:
    """A table, one line per row where the terminal is wide enough; columns that are `whole` do not wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, is_whole in zip(titles, whole, strict=True):
        table.add_column(title, overflow="fold", no_wrap=is_whole)
    styles = _STYLES | {state_show(state): style for state, style in _STYLES.items()}
    for row in rows:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    Console().print(table)


def fields_print(fields: Sequence[tuple[str, object]]) -> None:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in fields:
        shown = (
            ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
        )
        table.add_row(Text(name, "bold"), Text(text_clean(shown), _STYLES.get(shown, "")))
    Console().print(table)
