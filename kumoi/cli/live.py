"""A picture that is drawn again in its place. Imported only where standard output is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Picture:
    """Lines of text in one place of the terminal."""

    def __init__(self, shown: Live) -> None:
        self._shown = shown

    def draw(self, lines: list[str]) -> None:
        """Put these lines in the place of those before."""
        self._shown.update(Text("\n".join(lines)), refresh=True)


@contextmanager
def picture() -> Iterator[Picture]:
    """A picture on standard output, left as it was last."""
    with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as shown:
        yield Picture(shown)
