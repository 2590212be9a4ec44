"""What wakes the loops, and what stops them.

A loop is a function without input that may be killed at any line and repeated. It runs when nudged and at
its interval, only while its lease is held, and rests in between, so that what gathers is done together.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kumoi.engines.base import EngineError
from kumoi.store.database import Store
from kumoi.store.errors import FenceLost, StaleState, StoreError
from kumoi.store.leases import leases_hold, leases_release
from kumoi.store.writer import Fence

LEASE_TTL_S = 6.0
LEASE_MARGIN_S = 2.0
BACKOFF_S = 1.0
STOP_S = 10.0
REST_MAX_S = 0.1
STALE_MAX = 10
"""How often in a row a loop may decide at once again because the rows had changed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loop:
    """One reconciler. `activate` returns whether there may be more to do at once."""

    name: str
    activate: Callable[[Fence], bool]
    interval_s: float
    rest_s: float = 0.0
    """How long it rests at least. A busy loop rests as long as it worked, and then does more at once."""


class Beside(Protocol):
    """What runs beside the loops and is started and stopped with them."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, soon."""


@dataclass(slots=True)
class _Held:
    """A lease as this process knows it; doubtful after `until_s` on the boot clock."""

    epoch: int
    until_s: float


@dataclass(slots=True)
class Runner:
    """Runs the loops on a thread each, and keeps their leases."""

    store: Store
    loops: Sequence[Loop]
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    )
    beside: Sequence[Beside] = ()
    _held: dict[str, _Held] = field(default_factory=dict)
    _wakes: dict[str, threading.Event] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _stale: Counter[str] = field(default_factory=Counter)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._wakes = {loop.name: threading.Event() for loop in self.loops}

    def start(self) -> None:
        """Take the leases that are free and start every loop."""
        self._leases_renew()
        self._threads = [
            threading.Thread(target=self._run, args=(loop,), name=f"loop-{loop.name}", daemon=True)
            for loop in self.loops
        ]
        self._threads.append(threading.Thread(target=self._leases_keep, name="loop-leases", daemon=True))
        for thread in self._threads:
            thread.start()
        for one in self.beside:
            one.start()

    def nudge(self, *names: str) -> None:
        """Wake loops by name; none means all. Carries nothing: a lost nudge costs an interval."""
        for name in names or self._wakes:
            self._wakes[name].set()

    def stop(self) -> None:
        """Let the activations under way finish, then let go of the leases."""
        self._stopping.set()
        self.nudge()
        for one in self.beside:
            one.stop()
        deadline_s = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        try:
            self.store.transact_wait(None, leases_release, self.holder)
        except StoreError as error:
            _log.warning("the leases were not released, they run out by themselves: %s", error)

    def fence(self, name: str) -> Fence | None:
        """The fence of a loop's lease, or None while the lease is not held or doubtful."""
        held = self._held.get(name)
        if held is None or _boot_s() >= held.until_s:
            return None
        return Fence(name, self.holder, held.epoch)

    def _run(self, loop: Loop) -> None:
        wake = self._wakes[loop.name]
        wake.set()
        while not self._stopping.is_set():
            wake.wait(loop.interval_s)
            wake.clear()
            fence = self.fence(loop.name)
            if self._stopping.is_set() or fence is None:
                continue
            began_s = time.monotonic()
            more = self._activate(loop, fence)
            rest_s = min(time.monotonic() - began_s, REST_MAX_S)
            if more:
                wake.set()
            self._stopping.wait(rest_s if more else max(loop.rest_s, rest_s))

    def _activate(self, loop: Loop, fence: Fence) -> bool:
        try:
            more = loop.activate(fence)
            self._stale[loop.name] = 0
            return more
        except FenceLost as error:
            self._held.pop(loop.name, None)
            _log.warning("loop %s stopped: %s", loop.name, error)
        except StaleState as error:
            self._stale[loop.name] += 1
            if self._stale[loop.name] <= STALE_MAX:
                return True
            _log.warning("loop %s finds the same contradiction again and again: %s", loop.name, error)
            self._stopping.wait(BACKOFF_S)
        except (StoreError, EngineError) as error:
            _log.warning("loop %s will try again in %s s: %s", loop.name, BACKOFF_S, error)
            self._stopping.wait(BACKOFF_S)
        except Exception:
            _log.exception("loop %s failed and will try again in %s s", loop.name, BACKOFF_S)
            self._stopping.wait(BACKOFF_S)
        return False

    def _leases_keep(self) -> None:
        while not self._stopping.wait(LEASE_TTL_S / 3):
            if self.store.is_sqlite:
                continue
            try:
                self._leases_renew()
            except (StoreError, TimeoutError) as error:
                _log.warning("the leases could not be renewed: %s", error)

    def _leases_renew(self) -> None:
        names = tuple(loop.name for loop in self.loops)
        asked_s = _boot_s()
        ttl_us = None if self.store.is_sqlite else int(LEASE_TTL_S * 1_000_000)
        until_s = float("inf") if ttl_us is None else asked_s + LEASE_TTL_S - LEASE_MARGIN_S
        epochs = self.store.transact_wait(None, leases_hold, names, self.holder, ttl_us)
        gained = epochs.keys() - self._held.keys()
        self._held = {name: _Held(epoch, until_s) for name, epoch in epochs.items()}
        if gained:
            _log.info("holding the leases of %s", ", ".join(sorted(gained)))
            self.nudge(*gained)


def _boot_s() -> float:
    """A clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
