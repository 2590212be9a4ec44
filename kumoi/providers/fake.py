"""An honest provider in memory, for tests: machines that cost something, and failures on demand."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kumoi.providers.base import (
    MachinePhase,
    MachineSeen,
    MachineSpec,
    MachineTag,
    ProviderError,
    ProviderUnavailable,
)

T = TypeVar("T")


@dataclass(slots=True)
class _Machine:
    spec: MachineSpec
    ref: str
    phase: MachinePhase


class FakeProvider:
    """Keeps the promises of `Provider` in memory; tests move machines on with `boot` and `end`.

    `made` counts the machines that were made by tag: more than one is money lost. `fail` is raised by the
    next calls until it is None; with `fail_after` only once the call took effect, like a lost answer.
    """

    def __init__(self, name: str = "fake", jurisdiction: str = "JP", machines_max: int = 1_000) -> None:
        self.name = name
        self.jurisdiction = jurisdiction
        self.made: Counter[str] = Counter()
        self.fail: ProviderError | None = None
        self.fail_after = False
        self._machines: dict[MachineTag, _Machine] = {}
        self._machines_max = machines_max
        self._lock = threading.Lock()

    def machine_ensure(self, spec: MachineSpec) -> MachineSeen:
        """See `Provider`."""

        def work() -> MachineSeen:
            machine = self._machines.get(spec.tag)
            if machine is None:
                if len(self.living()) >= self._machines_max:
                    raise ProviderUnavailable("the fake provider holds as many machines as it was made for")
                ref = f"fake-{len(self._machines) + 1:04}"
                machine = self._machines[spec.tag] = _Machine(spec, ref, MachinePhase.PENDING)
                self.made[spec.tag.machine_id] += 1
            return _seen(machine)

        return self._call(work)

    def machine_list(self, region: str, incarnation: str) -> Sequence[MachineSeen]:
        """See `Provider`."""
        return self._call(
            lambda: [
                _seen(machine)
                for tag, machine in self._machines.items()
                if (tag.region, tag.incarnation) == (region, incarnation)
                and machine.phase is not MachinePhase.GONE
            ]
        )

    def machine_release(self, tag: MachineTag) -> None:
        """See `Provider`."""

        def work() -> None:
            machine = self._machines.get(tag)
            if machine is not None and machine.phase is not MachinePhase.GONE:
                machine.phase = MachinePhase.ENDING

        self._call(work)

    def boot(self) -> list[str]:
        """What was asked for runs now; the names of those machines."""
        pending = [m for m in self._machines.values() if m.phase is MachinePhase.PENDING]
        for machine in pending:
            machine.phase = MachinePhase.RUNNING
        return [machine.spec.name for machine in pending]

    def end(self, machine_id: str | None = None) -> None:
        """What is ending is gone; with an id, that machine is gone whatever it was."""
        for tag, machine in self._machines.items():
            if tag.machine_id == machine_id or (machine_id is None and machine.phase is MachinePhase.ENDING):
                machine.phase = MachinePhase.GONE

    def living(self) -> list[str]:
        """The ids of the machines that cost something."""
        return [tag.machine_id for tag, m in self._machines.items() if m.phase is not MachinePhase.GONE]

    def _call(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self.fail is not None and not self.fail_after:
                raise self.fail
            result = work()
            if self.fail is not None:
                raise self.fail
            return result


def _seen(machine: _Machine) -> MachineSeen:
    return MachineSeen(machine.spec.tag, machine.ref, machine.phase)
