"""What the SDK wants of the network, as data.

An operation is a generator (a flow) that yields effects and is sent their results; it does no I/O itself.
The two drivers, one blocking and one asynchronous, perform the effects, so every operation exists once.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body read from a file, again for each try. `sent` is told how many bytes of it have gone out."""

    path: Path
    size_bytes: int
    sent: Callable[[int], object] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Send this and answer the whole reply. `path` is quoted already and starts with a slash.

    `read_timeout_s` replaces the client's timeout while waiting for the next bytes.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | FileBody | None = None
    authenticated: bool = True
    read_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Send `request` and answer the head of the reply; its body follows by `Read` (at once if refused)."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Answer the next bytes of the opened reply, None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Answer None after `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Hand `value` to whoever iterates over the stream."""

    value: T


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. Header names are lower case; `body` is empty for an opened reply that was not refused."""

    request: Request
    status: int
    headers: Mapping[str, str]
    body: bytes


Effect = Request | Open | Read | Pause
Flow = Generator[Effect, Any, T]
"""An operation that answers one T."""

Stream = Generator[Effect | Item[T], Any, None]
"""An operation that answers any number of T."""
