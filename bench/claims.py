"""How many claims a second become durable at 1,000 hosts, beside raw commits on the same disk.

A claim is a job of one task that a client submits through the API and that the plane has placed: its attempt
is committed, with the host, the event and the recorded plan. The hosts exist in name only, so that nothing
is executed; that an attempt was started is recorded all the same. Two ways, each with 4 clients that wait for
their answers:

- sustained (`claims_per_s_c4`): the clients submit for `--duration-s`; claims placed, divided by the time
  from the first submission until the last one is placed. Nothing may be left waiting.
- one by one (`claims_one_by_one_per_s_c4`): each client submits, asks until its job is placed, goes on.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from load import LoadError, Target, load_run
from plane import PlaneError, Region, Tenant
from report import Figure, Report, arguments_make, machine_describe, report_print, say
from submit import commits_raw

from kumoi.store.sqlite import SqliteFile

CLIENTS = 4
DRAIN_S = 60.0
POLL_S = 0.01
HOSTS_S = 60.0
WARM_CLAIMS = 64
NEEDED_SHARE = 15.0
SPEC = (
    '{"command": ["true"], "name": "claim-@", "resources": {"cpu_milli": 8000, "memory_bytes": 68719476736}}'
)
HERE = Path(__file__).resolve().parent
PLACED = "SELECT count(*) FROM attempts"
WAITING = "SELECT count(*) FROM jobs WHERE state IN ('waiting', 'pending', 'queued')"
HOSTS = "SELECT count(*) FROM hosts WHERE health = 'up'"
_ONE_BY_ONE = """
local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function init()
  n, claims, polls, job = 0, 0, 0, nil
  times = ""
end

function delay()
  if job then return 1 end
  return 0
end

function request()
  if job then
    polls = polls + 1
    return wrk.format("GET", "/v1/jobs/" .. job, headers)
  end
  n = n + 1
  headers["Idempotency-Key"] = name .. id .. "-" .. n
  return wrk.format("POST", path, headers, before .. id .. "-" .. n .. after)
end

function response(status, _, body)
  if status >= 400 then return end
  if job == nil then
    job = body:match('"id":%s*"(job_[^"]+)"')
  elseif body:match('"state":%s*"([a-z]+)"') == "running" then
    claims = claims + 1
    job = nil
  end
end

function done(summary)
  local claims, polls = 0, 0
  for _, thread in ipairs(threads) do
    claims = claims + thread:get("claims")
    polls = polls + thread:get("polls")
  end
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"claims": %d, "polls": %d, "us": %d, "bad": %d}\\n',
    claims, polls, summary.duration, e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class ClaimRegion(Region):
    """A plane whose engine has hosts in name only."""

    def __init__(self, hosts: int) -> None:
        super().__init__()
        self.hosts = hosts

    def program(self) -> list[str]:
        """See `Region`."""
        return [sys.executable, str(HERE / "claims_plane.py"), str(self.hosts)]

    def count(self, statement: str) -> int:
        """What the store answers, without a request to the plane."""
        with SqliteFile(self.data_dir / "kumoi.db", self.data_dir / "keys").connected() as connection:
            return int(connection.execute(statement).fetchone()[0])

    def wait(self, statement: str, wanted: int, timeout_s: float) -> None:
        """Wait until the store answers so. PlaneError if it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while (found := self.count(statement)) != wanted:
            if time.monotonic() > deadline_s:
                raise PlaneError(f"{statement} gave {found}, not {wanted}; log:\n{self.tail()}")
            time.sleep(POLL_S)


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--hosts", type=int, default=1_000, help="hosts of the region")
    parser.add_argument("--runs", type=int, default=3, help="repetitions; the figures are medians")
    parser.add_argument("--duration-s", type=int, default=5, help="seconds of each load")
    options = parser.parse_args()
    machine = machine_describe()
    found = claims_measure(options.hosts, options.runs, options.duration_s)
    figures = figures_make(found)
    report_print(Report("claims", options.seed, figures), machine, as_json=options.json)
    return 0


def claims_measure(hosts: int, runs: int, duration_s: int) -> dict[str, float]:
    """Medians of every figure; raw commits before and after each load meet the same neighbours."""
    samples: dict[str, list[float]] = defaultdict(list)
    with ClaimRegion(hosts) as region:
        region.start()
        region.wait(HOSTS, hosts, HOSTS_S)
        tenant = region.tenant()
        for number in range(WARM_CLAIMS):
            tenant.submit({"command": ["true"], "name": f"warm-{number}"})
        region.wait(WAITING, 0, DRAIN_S)
        for run in range(runs):
            say(f"claims, run {run + 1} of {runs}")
            raw = commits_raw(region.data_dir)
            claims, cpu_ms = claims_sustained(region, tenant, duration_s)
            raw = (raw + commits_raw(region.data_dir)) / 2
            samples["raw_commits_per_s"].append(raw)
            samples["claims_per_s_c4"].append(claims)
            samples["claim_cpu_ms"].append(cpu_ms)
            samples["claims_share_of_raw"].append(100 * claims / raw)
            samples["claims_one_by_one_per_s_c4"].append(claims_one_by_one(region, tenant, duration_s))
        tenant.client.close()
    return {name: median(values) for name, values in samples.items()}


def claims_sustained(region: ClaimRegion, tenant: Tenant, duration_s: int) -> tuple[float, float]:
    """Claims per second from the first submission until nothing waits; processor ms of the plane for each."""
    before = region.count(PLACED)
    begun = time.perf_counter()
    cpu_s = cpu_seconds(region.pid)
    path = f"/v1/projects/{tenant.project}/jobs"
    load = load_run(Target(tenant.port, path, SPEC, headers=bearer(tenant), keyed=True), CLIENTS, duration_s)
    region.wait(WAITING, 0, DRAIN_S)
    took_s = time.perf_counter() - begun
    placed = region.count(PLACED) - before
    if placed < load.requests:
        raise PlaneError(f"{load.requests} jobs were accepted, but only {placed} were placed")
    return placed / took_s, 1_000 * (cpu_seconds(region.pid) - cpu_s) / placed


def cpu_seconds(pid: int) -> float:
    """Processor seconds that a process has used, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def claims_one_by_one(region: ClaimRegion, tenant: Tenant, duration_s: int) -> float:
    """Claims per second of clients that have one claim each on its way."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is missing: run bench/install_peers.sh as root")
    before, after = SPEC.split("@")
    with tempfile.TemporaryDirectory(prefix="kumoi-bench-claims-") as place:
        values = {
            "name": json.dumps(Path(place).name),
            "path": json.dumps(f"/v1/projects/{tenant.project}/jobs"),
            "before": json.dumps(before),
            "after": json.dumps(after),
        }
        fields = ", ".join(
            f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in bearer(tenant).items()
        )
        script = "".join(f"{name} = {value}\n" for name, value in values.items())
        Path(place, "claims.lua").write_text(f"{script}headers = {{{fields}}}\n{_ONE_BY_ONE}")
        done = subprocess.run(
            [
                *("wrk", f"-t{CLIENTS}", f"-c{CLIENTS}", f"-d{duration_s}s", "--timeout", "10s"),
                *("-s", str(Path(place, "claims.lua")), f"http://127.0.0.1:{tenant.port}/"),
            ],
            capture_output=True,
            text=True,
            timeout=duration_s + DRAIN_S,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not found:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    result = json.loads(found[0].removeprefix("RESULT "))
    if result["bad"] or not result["claims"]:
        raise LoadError(f"claims one by one went wrong: {done.stdout}")
    region.wait(WAITING, 0, DRAIN_S)
    return float(result["claims"] / (result["us"] / 1e6))


def bearer(tenant: Tenant) -> dict[str, str]:
    """The headers of every request."""
    return {"Authorization": f"Bearer {tenant.token}", "Content-Type": "application/json"}


def figures_make(found: dict[str, float]) -> tuple[Figure, ...]:
    """The figures, each with its goal and its reference of the same run."""
    raw = found["raw_commits_per_s"]
    goal = NEEDED_SHARE / 100 * raw
    one_by_one = found["claims_one_by_one_per_s_c4"]
    return (
        Figure("claims_per_s_c4", found["claims_per_s_c4"], "1/s", "higher", goal, raw),
        Figure("claims_share_of_raw", found["claims_share_of_raw"], "%", "higher", NEEDED_SHARE),
        Figure("claims_one_by_one_per_s_c4", one_by_one, "1/s", "higher", None, raw),
        Figure("claim_cpu_ms", found["claim_cpu_ms"], "ms", "lower"),
        Figure("raw_commits_per_s", raw, "1/s", "higher"),
    )


if __name__ == "__main__":
    sys.exit(main())
