"""How soon a plane is ready, how much memory it takes, how fast its commands and lists are.

With 100,000 jobs in the store, which are put there through the API, beside a Slurm with none (its
controller alone) and beside what the machine allows at best: a bare interpreter, the cheapest request.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from plane import Client, Region, Tenant, descendants, kumoi_find, pss_bytes
from report import Figure, Report, arguments_make, machine_describe, report_print, say
from slurm import Slurm, SlurmMissing

BATCH_SIZE = 1_000
STARTS = 5
COMMANDS = 11
LISTS = 41
SETTLE_S = 10.0
COMMAND_S = 60
READY_S_MAX = 1.0
PSS_MB_MAX = 130
HELP_MS_MAX = 150
LIST_MS_MAX = 20


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the store, in thousands")
    parser.add_argument("--without-slurm", action="store_true", help="leave the peer out")
    options = parser.parse_args()
    machine = machine_describe()
    try:
        peer = {} if options.without_slurm else slurm_measure()
    except SlurmMissing as error:
        say(f"startup: {error}; or leave it out with --without-slurm")
        return 2
    say("help, as a whole process")
    help_ms = command_ms(kumoi_find(), "--help")
    bare_ms = command_ms(sys.executable, "-I", "-c", "")
    say(f"ready on a fresh store, {STARTS} times")
    fresh_s = median(ready_fresh() for _ in range(STARTS))
    with Region() as region:
        region.start()
        region.operator().call("POST", "/v1/pools/default/pause")
        tenant = region.tenant()
        store_fill(tenant, options.jobs)
        say(f"ready with {options.jobs} jobs, {STARTS} times")
        ready_s = median(ready_again(region) for _ in range(STARTS))
        time.sleep(SETTLE_S)
        plane_mb = pss_bytes(descendants([region.pid])) / 1e6
        list_ms, health_ms = lists_measure(tenant)
    figures = (
        Figure("ready_s", ready_s, "s", "lower", READY_S_MAX, peer.get("ready_s")),
        Figure("ready_fresh_s", fresh_s, "s", "lower", None, peer.get("ready_s")),
        Figure("idle_pss_mb", plane_mb, "MB", "lower", PSS_MB_MAX, peer.get("pss_mb")),
        Figure("help_ms", help_ms, "ms", "lower", HELP_MS_MAX, bare_ms),
        Figure("list_100_of_100k_ms", list_ms, "ms", "lower", LIST_MS_MAX, health_ms),
    )
    report_print(Report("startup", options.seed, figures), machine, as_json=options.json)
    return 0


def slurm_measure() -> dict[str, float]:
    """Slurm's own: from the start of its controller to its first answer, and the memory of all of it."""
    say("the peer")
    with Slurm() as slurm:
        time.sleep(SETTLE_S)
        return {"ready_s": slurm.controller_ready_s, "pss_mb": pss_bytes(descendants(slurm.pids)) / 1e6}


def command_ms(*command: str) -> float:
    """Milliseconds of one command from start to end, the median of some."""

    def run() -> float:
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_S)
        return (time.perf_counter() - begun) * 1_000

    run()
    return median(run() for _ in range(COMMANDS))


def ready_fresh() -> float:
    """Seconds to ready on an empty directory: schema, keys and operator are made."""
    with Region() as region:
        return region.start()


def ready_again(region: Region) -> float:
    """Seconds to ready on the store that is there."""
    region.stop()
    return region.start()


def store_fill(tenant: Tenant, jobs: int) -> None:
    """Put `jobs` distinct jobs into the store, a thousand a request."""
    path = f"/v1/projects/{tenant.project}/job-batches"
    for start in range(0, jobs, BATCH_SIZE):
        specs = [
            {"command": ["true"], "name": f"job-{number}"}
            for number in range(start, min(start + BATCH_SIZE, jobs))
        ]
        tenant.client.call("POST", path, {"jobs": specs}, f"fill-{start}")
        if start % 10_000 == 0:
            say(f"filling the store: {start} of {jobs}")


def lists_measure(tenant: Tenant) -> tuple[float, float]:
    """Milliseconds of a page of 100 jobs and of the cheapest request, on one kept connection."""
    client = Client(tenant.port, tenant.token)
    page = f"/v1/projects/{tenant.project}/jobs?limit=100"
    if len(client.call("GET", page)["items"]) != 100:
        raise RuntimeError("the page does not hold 100 jobs")
    times = median_ms(lambda: client.raw("GET", page)), median_ms(lambda: client.raw("GET", "/healthz"))
    client.close()
    return times


def median_ms(request: Callable[[], object]) -> float:
    """The median milliseconds of a request."""
    found = []
    for _ in range(LISTS):
        begun = time.perf_counter()
        request()
        found.append((time.perf_counter() - begun) * 1_000)
    return median(found)


if __name__ == "__main__":
    sys.exit(main())
