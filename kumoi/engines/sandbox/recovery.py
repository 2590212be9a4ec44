"""What becomes of an attempt whose supervisor is gone: decided from its records, under its lock."""

import time
from pathlib import Path

from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S


def attempt_resolve(layout: records.Layout, hierarchy: Hierarchy | None, ref: str, boot_id: str) -> bool:
    """Bring the records of an attempt whose lock the caller holds to rest; False to try again later.

    Ended: finish what its supervisor left half written. Stopped before its start: say so. Started: the
    supervisor was killed, so kill what is left and say that the host lost it. Otherwise nothing happened.
    """
    state = records.attempt_state(layout, ref)
    if state == records.ENDED:
        records.exit_commit(layout, ref, {})
    elif state == records.STOPPED:
        outcome, detail = AttemptOutcome.CANCELLED, "stopped before its start"
        record = records.exit_record(outcome, started_us=None, ended_us=_now_us(), detail=detail)
        records.exit_commit(layout, ref, record)
    elif state == records.STARTED:
        return _lost(layout, hierarchy, ref, boot_id)
    else:
        records.lock_forget(layout, ref)
    return True


def boot_time_us() -> int:
    """When this machine was booted, microseconds UTC."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * US_PER_S
    return 0


def _lost(layout: records.Layout, hierarchy: Hierarchy | None, ref: str, boot_id: str) -> bool:
    marker = records.json_read(f"{layout.attempt(ref)}/started") or {}
    started_us, start_before_us = marker.get("started_us"), marker.get("start_before_us")
    rebooted = marker.get("boot_id") not in (None, boot_id)
    cpu_us, peak = 0, 0
    if hierarchy is not None:
        counted_us, peak, _ = hierarchy.usage(ref)
        cpu_us = counted_us or 0
        if not hierarchy.remove(ref):
            return False
    started_us = started_us if isinstance(started_us, int) else None
    ended_us = min(_now_us(), boot_time_us()) if rebooted else _now_us()
    record = records.exit_record(
        AttemptOutcome.HOST_LOST,
        started_us=started_us,
        ended_us=max(ended_us, started_us or 0),
        cpu_us=cpu_us,
        memory_peak_bytes=peak,
        detail="the host was restarted" if rebooted else "its supervisor was killed",
        start_before_us=start_before_us if isinstance(start_before_us, int) else None,
    )
    records.exit_commit(layout, ref, record)
    return True


def _now_us() -> int:
    return time.time_ns() // 1_000
