"""The provider protocol: where machines come from and go back to.

The plane writes a machine's row before it asks for the machine, so every call may be repeated: after a crash
nobody knows whether the last one arrived. A machine is known by our own tag, never by memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ProviderError(Exception):
    """The provider could not do what was asked. The text may be shown; it holds no credential."""


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, or does not answer as it should: nothing is known. Ask again later."""


class ProviderFull(ProviderError):
    """The provider has no such machine to give now, or gives us no more. Ask again much later."""


class ProviderRefused(ProviderError):
    """The provider will not do this however often it is asked: somebody must change the request."""


@dataclass(frozen=True, slots=True)
class MachineTag:
    """What every machine of ours carries: which region, which life of its store, which row."""

    region: str
    incarnation: str
    machine_id: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What to ask for. `name` becomes the machine's host name: its host's report must bear it."""

    tag: MachineTag
    name: str
    image: str
    size: str
    network: str | None = None


class MachinePhase(StrEnum):
    """Where a machine is, as its provider sees it. One that is gone costs nothing any more."""

    PENDING = "pending"
    RUNNING = "running"
    ENDING = "ending"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """A machine of ours at its provider. `ref` is the provider's own name for it."""

    tag: MachineTag
    ref: str
    phase: MachinePhase


class Provider(Protocol):
    """A source of machines in one place. Calls have timeouts and may be made from several threads."""

    name: str
    jurisdiction: str
    """Where its machines stand (ISO 3166-1 alpha-2), as the operator vouches."""

    def machine_ensure(self, spec: MachineSpec) -> MachineSeen:
        """The machine with the tag, made if there is none; of several with the tag all but one are ended.

        A machine that was ended is not made again while its provider remembers it: its phase is GONE. Raises
        ProviderUnavailable (it may have been made all the same), ProviderFull, ProviderRefused.
        """

    def machine_list(self, region: str, incarnation: str) -> Sequence[MachineSeen]:
        """Every machine that carries the region and incarnation and may cost something.

        Raises ProviderUnavailable.
        """

    def machine_release(self, tag: MachineTag) -> None:
        """End every machine with the tag; none is fine. Returns before they are gone: list them to know.

        Raises ProviderUnavailable, ProviderRefused.
        """
