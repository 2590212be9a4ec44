"""How fast work is accepted, started and completed, beside Slurm, raw commits and raw bubblewrap.

Accepting is measured into a paused pool (Slurm: held jobs) by one load generator, in turns, so that a noisy
neighbour meets everybody. Then on a fresh, idle plane: from submission to the task's own clock, and `true`
tasks through an overcommitted host beside bare launches of the same sandbox.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median

from load import Target, load_run
from plane import ROOT, PlaneError, Region, Tenant
from report import Figure, Report, arguments_make, machine_describe, report_print, say
from slurm import USER, Slurm, SlurmMissing

CONCURRENCIES = (1, 4, 8)
BATCH_SIZE = 100
RAW_COMMIT_S = 1.0
RAW_LAUNCHES = 200
RAW_CONCURRENCY = 8
SLOTS = 16
SLURM_START_SAMPLES = 5
IDLE_S = 0.2
WAIT_S = 120.0
NEEDED_OVER_SLURM = 1.2
NEEDED_OF_BWRAP = 0.4
NEEDED_BATCH_PER_S = 10_000
NEEDED_START_MS = 100
SPEC = '{"command": ["true"], "name": "bench-@"}'
SLURM_SPEC = json.dumps(
    {
        "job": {
            "name": "bench-@",
            "hold": True,
            "partition": "main",
            "tasks": 1,
            "environment": {"PATH": "/bin"},
            "current_working_directory": "/tmp",
            "standard_output": "/dev/null",
            "standard_error": "/dev/null",
        },
        "script": "#!/bin/sh\ntrue\n",
    }
)
Samples = dict[str, list[float]]


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--runs", type=int, default=3, help="repetitions of each measurement")
    parser.add_argument("--duration-s", type=int, default=2, help="seconds of each load")
    parser.add_argument("--tasks", type=int, default=1_000, help="tasks of the array of `true`")
    parser.add_argument("--starts", type=int, default=25, help="submissions to an idle plane")
    parser.add_argument("--without-slurm", action="store_true", help="leave the peer out")
    options = parser.parse_args()
    machine = machine_describe()
    samples: Samples = defaultdict(list)
    try:
        if options.without_slurm:
            accept_measure(samples, None, options.runs, options.duration_s)
        else:
            with Slurm() as slurm:
                accept_measure(samples, slurm, options.runs, options.duration_s)
                slurm.jobs_forget()
                slurm_start_measure(samples, slurm)
    except SlurmMissing as error:
        say(f"submit: {error}; or leave it out with --without-slurm")
        return 2
    run_measure(samples, options.runs, options.starts, options.tasks)
    figures = figures_make({name: median(values) for name, values in samples.items()})
    report_print(Report("submit", options.seed, figures), machine, as_json=options.json)
    return 0


def accept_measure(samples: Samples, slurm: Slurm | None, runs: int, duration_s: int) -> None:
    """Submissions per second of everybody, in turns."""
    with Region() as region:
        region.start()
        operator = region.operator()
        operator.call("POST", "/v1/pools/default/pause")
        tenant = region.tenant()
        targets = {"submit": _single(tenant)}
        if slurm is not None:
            headers = {"X-SLURM-USER-NAME": USER, "X-SLURM-USER-TOKEN": slurm.token}
            path = "/slurm/v0.0.38/job/submit"
            targets["slurmrestd"] = Target(slurm.rest_port, path, SLURM_SPEC, headers=headers)
        batch = _batch(tenant)
        for run in range(runs):
            say(f"accepting, run {run + 1} of {runs}")
            for connections in CONCURRENCIES:
                for name, target in targets.items():
                    load = load_run(target, connections, duration_s)
                    samples[f"{name}_per_s_c{connections}"].append(load.per_s)
                    samples[f"{name}_p99_ms_c{connections}"].append(load.p99_ms)
            samples["raw_commits_per_s"].append(commits_raw(region.data_dir))
            for connections in (1, RAW_CONCURRENCY):
                load = load_run(batch, connections, duration_s)
                samples[f"batch_submit_per_s_c{connections}"].append(load.per_s * BATCH_SIZE)
        if slurm is not None and len(slurm.run("squeue", "-h").splitlines()) < runs:
            raise RuntimeError("slurmrestd answered, but Slurm holds no jobs")


def _single(tenant: Tenant) -> Target:
    path = f"/v1/projects/{tenant.project}/jobs"
    return Target(tenant.port, path, SPEC, headers=_bearer(tenant), keyed=True)


def _batch(tenant: Tenant) -> Target:
    return Target(
        tenant.port,
        f"/v1/projects/{tenant.project}/job-batches",
        SPEC,
        head='{"jobs": [',
        tail="]}",
        repeat=BATCH_SIZE,
        headers=_bearer(tenant),
        keyed=True,
    )


def _bearer(tenant: Tenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.token}"}


def commits_raw(directory: Path) -> float:
    """Commits per second of one row each, as durable as the plane's: WAL, synchronous=FULL."""
    path = directory / "raw.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, spec TEXT) WITHOUT ROWID")
        first = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < RAW_COMMIT_S:
            connection.execute("INSERT INTO jobs VALUES (?, ?)", (f"job_{first + done:026d}", SPEC))
            done += 1
        return done / (time.perf_counter() - begun)


def run_measure(samples: Samples, runs: int, starts: int, tasks: int) -> None:
    """Start latency when idle, and tasks per second, on a fresh plane."""
    with Region("--host-cpu-milli", str(SLOTS * 1_000), "--host-memory-bytes", str(64 << 30)) as region:
        region.start()
        tenant = region.tenant()
        say(f"from submission to start, {starts} times")
        start_ms(tenant)
        for _ in range(starts):
            time.sleep(IDLE_S)
            samples["submit_to_start_ms_p50"].append(start_ms(tenant))
        for run in range(runs):
            say(f"completing {tasks} tasks, run {run + 1} of {runs}")
            samples["raw_bwrap_per_s"].append(launches_raw(RAW_CONCURRENCY)[0])
            samples["raw_bwrap_ms_p50"].append(median(launches_raw(1)[1]))
            samples["tasks_completed_per_s"].append(tasks_per_s(tenant, tasks))


def start_ms(tenant: Tenant) -> float:
    """Milliseconds from before the request to what the task itself reads off the clock."""
    begun_ns = time.time_ns()
    job = tenant.submit({"command": ["date", "+%s%N"], "name": "start"})
    tenant.job_wait(job, WAIT_S)
    status, answer = tenant.client.raw("GET", f"/v1/jobs/{job}/tasks/0/log?stream=stdout")
    if status != 200 or not answer.strip().isdigit():
        raise PlaneError(f"the log of {job} was answered {status}: {answer!r}")
    return (int(answer) - begun_ns) / 1e6


def tasks_per_s(tenant: Tenant, tasks: int) -> float:
    """Tasks of one array per second, from before the request to the job's recorded end."""
    begun_s = time.time()
    job = tenant.submit({"command": ["true"], "name": "array", "array_size": tasks})
    ended = tenant.job_wait(job, WAIT_S, poll_s=0.1)
    if ended["state"] != "succeeded":
        raise PlaneError(f"not every `true` succeeded: {ended}")
    return tasks / (datetime.fromisoformat(ended["ended_at"]).timestamp() - begun_s)


def launches_raw(concurrency: int) -> tuple[float, list[float]]:
    """Bare bubblewrap: launches per second, and milliseconds of each."""
    count = RAW_LAUNCHES if concurrency > 1 else RAW_LAUNCHES // 8
    command = [sys.executable, str(ROOT / "bench/launcher.py"), str(count), str(concurrency)]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    if done.returncode:
        raise RuntimeError(f"bare bubblewrap failed: {done.stderr}")
    measured = json.loads(done.stdout)
    return count / measured["total_s"], measured["each_ms"]


def slurm_start_measure(samples: Samples, slurm: Slurm) -> None:
    """The same from Slurm: what a job reads off the clock, against the moment before its submission."""
    place = slurm.root / "clock"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    for number in range(SLURM_START_SAMPLES):
        output = place / f"{number}"
        begun_ns = time.time_ns()
        slurm.run(
            *("sbatch", f"--uid={USER}", "--chdir=/tmp", f"--output={output}", "--wrap=date +%s%N", "--wait")
        )
        samples["slurm_submit_to_start_ms_p50"].append((int(output.read_text()) - begun_ns) / 1e6)


def figures_make(found: dict[str, float]) -> tuple[Figure, ...]:
    """The figures, each with its goal and its reference of the same run."""
    figures = []
    commits = found["raw_commits_per_s"]
    for c in CONCURRENCIES:
        peer = found.get(f"slurmrestd_per_s_c{c}")
        goal = None if peer is None or c != max(CONCURRENCIES) else NEEDED_OVER_SLURM * peer
        figures.append(Figure(f"submit_per_s_c{c}", found[f"submit_per_s_c{c}"], "1/s", "higher", goal, peer))
        p99 = found.get(f"slurmrestd_p99_ms_c{c}")
        figures.append(Figure(f"submit_p99_ms_c{c}", found[f"submit_p99_ms_c{c}"], "ms", "lower", None, p99))
        if peer is not None:
            figures.append(Figure(f"slurmrestd_per_s_c{c}", peer, "1/s", "higher"))
    batch = found[f"batch_submit_per_s_c{RAW_CONCURRENCY}"]
    figures += [
        Figure("batch_submit_per_s", batch, "jobs/s", "higher", NEEDED_BATCH_PER_S, commits),
        Figure("batch_submit_per_s_c1", found["batch_submit_per_s_c1"], "jobs/s", "higher", None, commits),
        Figure("raw_commits_per_s", commits, "1/s", "higher"),
    ]
    start, raw_ms = found["submit_to_start_ms_p50"], found["raw_bwrap_ms_p50"]
    figures.append(Figure("submit_to_start_ms_p50", start, "ms", "lower", NEEDED_START_MS, raw_ms))
    if "slurm_submit_to_start_ms_p50" in found:
        value = found["slurm_submit_to_start_ms_p50"]
        figures.append(Figure("slurm_submit_to_start_ms_p50", value, "ms", "lower"))
    tasks, raw = found["tasks_completed_per_s"], found["raw_bwrap_per_s"]
    return (
        *figures,
        Figure("tasks_completed_per_s", tasks, "1/s", "higher", NEEDED_OF_BWRAP * raw, raw),
        Figure("raw_bwrap_per_s", raw, "1/s", "higher"),
        Figure("raw_bwrap_ms_p50", raw_ms, "ms", "lower"),
    )


if __name__ == "__main__":
    sys.exit(main())
