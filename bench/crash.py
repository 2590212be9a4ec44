"""Crash the plane over and over while it works, and count what that breaks. Nothing may break.

Every round submits array jobs whose tasks append their name and the boot id to a file of their project, in
one O_APPEND write each. Meanwhile the plane is killed (SIGKILL) at moments that the seed spreads over
submitting, placing, starting, finishing and signing, in some rounds its fork-server too, and is started
again on the same data; the client repeats its submissions under the same idempotency keys. Then every task
must have its line exactly once, no process may be left, and the log must have grown out of what it was.
"""

import http.client
import random
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from typing import Any

from crash_checks import Findings, LogWatch, orphans_find, round_check
from plane import Client, PlaneError, Region, Tenant, descendants
from report import Figure, Report, arguments_make, machine_describe, report_print, say

JOBS = 5
CPU_MILLI = 250
HOST_CPU_MILLI = 16_000
MEMORY_BYTES = 64 << 20
LOG_INTERVAL_S = 0.2
ORPHAN_AFTER_S = 10.0
RETRY_S = 0.02
SUBMIT_S = 60.0
SETTLE_S = 90.0
FORKSERVER = "kumoi.engines.sandbox.forkserver"
APPEND = (
    "read -r boot < /proc/sys/kernel/random/boot_id; "
    'printf "%s/%s %s\\n" "$KUMOI_JOB_ID" "$KUMOI_TASK_INDEX" "$boot" >> /project/out'
)
SCRIPTS = (
    APPEND,
    f"{APPEND}; exec sleep 0.2",
    f"sleep 0.2; {APPEND}",
    f"setsid sleep 600 & {APPEND}",
    APPEND,
)
"""The fourth leaves a process behind that has to be ended; the fifth waits for the first."""


@dataclass(slots=True)
class Round:
    """One round: what was submitted and how the plane was hurt meanwhile."""

    number: int
    random: random.Random
    tenant: Tenant
    project: str
    size: int
    jobs: list[str] = field(default_factory=list)
    moments: Counter[str] = field(default_factory=Counter)
    forkserver_kills: int = 0
    submitting: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    @property
    def tasks(self) -> int:
        """Tasks of the round."""
        return self.size * JOBS


def main() -> int:
    """Run the rounds and print; 1 if anything broke."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=500, help="tasks of a round")
    options = parser.parse_args()
    machine = machine_describe()
    flags = ["--host-cpu-milli", str(HOST_CPU_MILLI), "--host-memory-bytes", str(64 << 30)]
    region = Region(*flags, "--log-interval-s", str(LOG_INTERVAL_S))
    findings = Findings(options.seed)
    try:
        kills, forkserver_kills = rounds_run(region, findings, options.rounds, options.tasks)
    finally:
        region.end(keep=bool(findings.total) or sys.exc_info()[0] is not None)
    figures = (
        Figure("rounds", options.rounds, "rounds", "higher"),
        Figure("tasks", options.rounds * options.tasks, "tasks", "higher"),
        Figure("plane_kills", kills, "kills", "higher"),
        Figure("forkserver_kills", forkserver_kills, "kills", "higher"),
        Figure("lost", findings.count["lost"], "tasks", "lower", 0),
        Figure("run_twice", findings.count["run_twice"], "tasks", "lower", 0),
        Figure("orphans", findings.count["orphans"], "processes", "lower", 0),
        Figure("log_inconsistent", findings.count["log_inconsistent"], "checks", "lower", 0),
    )
    report_print(Report("crash", options.seed, figures), machine, as_json=options.json)
    return 1 if findings.total else 0


def rounds_run(region: Region, findings: Findings, rounds: int, tasks: int) -> tuple[int, int]:
    """All rounds; returns how often the plane and the fork-server were killed."""
    region.start()
    tenant = region.tenant()
    log = LogWatch(region, tenant)
    settled: list[tuple[float, Round, set[str]]] = []
    kills: Counter[str] = Counter()
    forkserver_kills = 0
    for number in range(1, rounds + 1):
        begun = time.monotonic()
        chance = random.Random(f"{findings.seed}/{number}")
        project = tenant.project_create(f"round-{number}")
        now = Round(number, chance, tenant, project, tasks // JOBS)
        round_run(region, now)
        refs = round_check(region, tenant, project, now.jobs, now.size, findings.of(number))
        log.check(findings.of(number), chance)
        settled.append((time.monotonic(), now, refs))
        kills += now.moments
        forkserver_kills += now.forkserver_kills
        moments = ", ".join(f"{moment} {count}" for moment, count in sorted(now.moments.items()))
        say(
            f"round {number} of {rounds}: {time.monotonic() - begun:.1f} s, killed at {moments},"
            f" fork-server {now.forkserver_kills}; so far {findings}"
        )
        settled = [entry for entry in settled if not orphans_due(entry, findings)]
    for entry in settled:
        time.sleep(max(0.0, entry[0] + ORPHAN_AFTER_S - time.monotonic()))
        orphans_due(entry, findings)
    log.verify_whole(findings.of(rounds))
    return kills.total(), forkserver_kills


def orphans_due(entry: tuple[float, Round, set[str]], findings: Findings) -> bool:
    """Look for what is left of a round once its time has come; whether it had."""
    since, past, refs = entry
    if time.monotonic() < since + ORPHAN_AFTER_S:
        return False
    for pid, why in orphans_find(refs, past.project):
        findings.of(past.number).add("orphans", f"process {pid} {why}")
    return True


def round_run(region: Region, now: Round) -> None:
    """Submit, hurt the plane at each kind of moment, and wait until every job has ended."""
    out = region.data_dir / "objects" / now.tenant.organization / "projects" / now.project / "out"
    submitter = threading.Thread(target=jobs_submit, args=(region.port, now), daemon=True)
    submitter.start()
    now.submitting.wait(SUBMIT_S)
    crash(region, now, "submit", now.random.uniform(0, 0.08))
    crash(region, now, "place", now.random.uniform(0, 0.4), both=now.number % 5 == 0)
    lines_wait(region, now, out, int(now.tasks * now.random.uniform(0.02, 0.4)))
    if now.number % 3 == 0:
        forkserver_kill(region, now)
    crash(region, now, "start", now.random.uniform(0, 0.2), both=now.number % 4 == 0)
    lines_wait(region, now, out, int(now.tasks * now.random.uniform(0.5, 0.95)))
    crash(region, now, "finish", now.random.uniform(0, 0.2))
    lines_wait(region, now, out, now.tasks)
    crash(region, now, "sign", now.random.uniform(0, 2 * LOG_INTERVAL_S))
    submitter.join(SUBMIT_S)
    if now.error is not None or len(now.jobs) < JOBS:
        raise PlaneError(f"round {now.number}: only {len(now.jobs)} jobs were accepted: {now.error}")
    jobs_settle(now)


def crash(region: Region, now: Round, moment: str, delay_s: float, *, both: bool = False) -> None:
    """Kill the plane after a delay and start it again; one start in four is killed on its way too."""
    time.sleep(delay_s)
    if both:
        forkserver_kill(region, now)
    region.kill()
    now.moments[moment] += 1
    if now.random.random() < 0.25:
        region.spawn()
        time.sleep(now.random.uniform(0, 0.6))
        region.kill()
        now.moments["start-up"] += 1
    region.start()


def forkserver_kill(region: Region, now: Round) -> None:
    """Kill the fork-server, the plane's own child; the supervisors below it are left alone."""
    for pid in descendants([region.pid]):
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == region.pid and FORKSERVER in Path(f"/proc/{pid}/cmdline").read_text():
                kill(pid, signal.SIGKILL)
                now.forkserver_kills += 1
        except (FileNotFoundError, ProcessLookupError):
            continue


def jobs_submit(port: int, now: Round) -> None:
    """Submit the jobs of a round, each until it is accepted, always under the same key."""
    client = Client(port, now.tenant.token)
    try:
        for number, script in enumerate(SCRIPTS):
            spec: dict[str, Any] = {
                "name": f"job-{number}",
                "command": ["/bin/sh", "-c", script],
                "array_size": now.size,
                "resources": {"cpu_milli": CPU_MILLI, "memory_bytes": MEMORY_BYTES, "wall_time_s": 120},
            }
            if number == JOBS - 1:
                spec["depends_on"] = [{"job": now.jobs[0]}]
            now.submitting.set()
            now.jobs.append(job_submit(client, now.project, spec, f"{now.project}-{number}"))
    except (PlaneError, OSError, http.client.HTTPException) as error:
        now.error = error


def job_submit(client: Client, project: str, spec: dict[str, Any], key: str) -> str:
    """The id of the job, however often it takes."""
    deadline = time.monotonic() + SUBMIT_S
    while True:
        try:
            return str(client.call("POST", f"/v1/projects/{project}/jobs", spec, key)["id"])
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)


def lines_wait(region: Region, now: Round, out: Path, lines: int) -> None:
    """Wait until so many tasks have written their line, or the round takes too long; checks come later."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if out.exists() and out.read_bytes().count(b"\n") >= lines:
            return
        if now.error is not None:
            raise PlaneError(f"round {now.number}: a submission failed: {now.error}")
        time.sleep(RETRY_S)
    say(
        f"round {now.number}: {lines} of {now.tasks} lines did not come in {SETTLE_S} s;"
        f" the plane's log ends {region.tail()[-500:]}"
    )


def jobs_settle(now: Round) -> None:
    """Wait until every job has ended, or the round takes too long; checks come later."""
    deadline = time.monotonic() + SETTLE_S
    waiting = list(now.jobs)
    while waiting and time.monotonic() < deadline:
        waiting = [job for job in waiting if now.tenant.job(job)["ended_at"] is None]
        time.sleep(RETRY_S)


if __name__ == "__main__":
    sys.exit(main())
