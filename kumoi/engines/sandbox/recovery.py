"""What becomes of an attempt whose supervisor is gone: decided from its records, under its lock."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.bubblewrap import ATTEMPT_NAME
from kumoi.engines.sandbox.cgroups import RETRY_ROUNDS, Hierarchy
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S

_KILL_ROUNDS = 100
_KILL_PAUSE_S = 0.01


def attempt_resolve(
    layout: records.Layout,
    hierarchy: Hierarchy | None,
    ref: str,
    boot_id: str,
    outlived: Callable[[str], bool],
) -> None:
    """Bring the records of an attempt whose lock the caller holds to rest.

    Ended: finish what its supervisor left half done. Stopped before its start: say so. Started: the
    supervisor was killed, so kill what is left, in its control groups and (`outlived`) elsewhere, and say
    that the host lost it; what does not die leaves it live, to be tried again. Otherwise nothing happened.
    """
    state = records.attempt_state(layout, ref)
    if state == records.STOPPED:
        outcome, detail = AttemptOutcome.CANCELLED, "stopped before its start"
        line = records.exit_line(outcome, started_us=None, ended_us=_now_us(), detail=detail)
        records.attempt_end(layout, ref, line)
    elif state == records.STARTED:
        record = records.record_read(f"{layout.live}/{ref}") or records.Record(None, None)
        if record.exit is None:
            _lost(layout, hierarchy, ref, record.start or {}, boot_id, outlived)
        else:
            records.attempt_end(layout, ref, None)
    else:
        records.attempt_leave(layout, ref)


def boot_time_us() -> int:
    """When this machine was booted, microseconds UTC."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * US_PER_S
    return 0


def _lost(
    layout: records.Layout,
    hierarchy: Hierarchy | None,
    ref: str,
    start: dict[str, object],
    boot_id: str,
    outlived: Callable[[str], bool],
) -> None:
    started_us, start_before_us = start.get("started_us"), start.get("start_before_us")
    rebooted = start.get("boot_id") not in (None, boot_id)
    cpu_us, peak = 0, 0
    if hierarchy is not None:
        counted_us, peak, _ = hierarchy.usage(ref)
        cpu_us = counted_us or 0
    if hierarchy is not None:
        gone = hierarchy.remove(ref, rounds=RETRY_ROUNDS)
    else:
        gone = rebooted or _kill_by_name(ref)
    if not gone or not outlived(ref):
        return
    started_us = started_us if isinstance(started_us, int) else None
    ended_us = min(_now_us(), boot_time_us()) if rebooted else _now_us()
    line = records.exit_line(
        AttemptOutcome.HOST_LOST,
        started_us=started_us,
        ended_us=max(ended_us, started_us or 0),
        cpu_us=cpu_us,
        memory_peak_bytes=peak,
        detail="the host was restarted" if rebooted else "its supervisor was killed",
        start_before_us=start_before_us if isinstance(start_before_us, int) else None,
    )
    records.attempt_end(layout, ref, line)


def _kill_by_name(ref: str) -> bool:
    """Without control groups: kill the sandbox, which bears the attempt's name. It mostly dies with its
    supervisor; this is for one that had just begun. False if it will not go."""
    name = f"{ATTEMPT_NAME}{ref}\0".encode()
    for _ in range(_KILL_ROUNDS):
        found = False
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if entry.joinpath("cmdline").read_bytes().startswith(name):
                        found = True
                        os.kill(int(entry.name), signal.SIGKILL)
        if not found:
            return True
        select.select([], [], [], _KILL_PAUSE_S)
    return False


def _now_us() -> int:
    return time.time_ns() // 1_000
