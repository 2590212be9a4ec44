"""How far something is, on standard error where that is a terminal, and nowhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol


class Bar(Protocol):
    """A bar that knows how far it is."""

    def update(self, done: int, text: str | None = None) -> None:
        """Show `done` of the total."""


class _NoBar:
    def update(self, done: int, text: str | None = None) -> None:
        """Nobody looks."""


@contextmanager
def progress(text: str, total: int, *, size: bool = False, quiet: bool = False) -> Iterator[Bar]:
    """A bar for `total` units (bytes with `size`) while the block runs."""
    if quiet or not sys.stderr.isatty():
        yield _NoBar()
        return
    with import_module("kumoi.cli.bars").bar(text, total, size) as shown:
        yield shown
