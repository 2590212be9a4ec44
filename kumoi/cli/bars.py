"""Progress bars. Imported only where standard error is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from kumoi.cli.text import text_clean


class RichBar:
    """One bar of rich."""

    def __init__(self, shown: Progress, total: int, text: str) -> None:
        self._shown = shown
        self._task = shown.add_task(text_clean(text), total=total)

    def update(self, done: int, text: str | None = None) -> None:
        """Show `done` of the total."""
        if text is None:
            self._shown.update(self._task, completed=done)
        else:
            self._shown.update(self._task, completed=done, description=text_clean(text))


@contextmanager
def bar(text: str, total: int, size: bool) -> Iterator[RichBar]:
    """A bar on standard error, gone at the end."""
    amounts = (DownloadColumn(), TransferSpeedColumn()) if size else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *amounts, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield RichBar(shown, total, text)
