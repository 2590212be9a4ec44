"""One load generator for every HTTP server that is compared: wrk with a generated script.

wrk is a small C program with one epoll thread, so it takes little of the processors that it measures. Every
request has a number of its own in its body and, where asked, in its Idempotency-Key; keys never repeat
between two calls.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

TIMEOUT_S = 10
PLACE = "@"
_runs = count()


class LoadError(Exception):
    """The load was not answered as it should be; such a rate would mean nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to POST. Each `@` in `body` becomes the request's number; `body` is repeated `repeat` times,
    joined by commas, between `head` and `tail`, each with a number of its own."""

    port: int
    path: str
    body: str
    head: str = ""
    tail: str = ""
    repeat: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests came to."""

    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float


_SCRIPT = """
local n, concat = 0, table.concat

function request()
  local bodies = {}
  for i = 1, times do
    n = n + 1
    bodies[i] = concat(parts, tostring(n))
  end
  if keyed then headers["Idempotency-Key"] = name .. n end
  return wrk.format("POST", nil, headers, head .. concat(bodies, ",") .. tail)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %d, "us": %d, "bad": %d, "p50_us": %d, "p99_us": %d}\\n',
    summary.requests, summary.duration, e.status + e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def load_run(target: Target, connections: int, duration_s: int) -> Load:
    """POST as fast as `connections` waiting clients can. LoadError if anything was answered badly."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is missing: run bench/install_peers.sh as root")
    with tempfile.TemporaryDirectory(prefix="kumoi-bench-load-") as place:
        script = Path(place, "load.lua")
        script.write_text(_script(target, f"{Path(place).name}-{next(_runs)}-"))
        done = subprocess.run(
            [
                *("wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", f"{TIMEOUT_S}s"),
                *("-s", str(script), f"http://127.0.0.1:{target.port}{target.path}"),
            ],
            capture_output=True,
            text=True,
            timeout=duration_s + 3 * TIMEOUT_S,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not found:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    result = json.loads(found[0].removeprefix("RESULT "))
    if result["bad"] or not result["requests"]:
        raise LoadError(
            f"{result['bad']} of {result['requests']} requests to {target.path} failed:\n{done.stdout}"
        )
    per_s = result["requests"] / (result["us"] / 1e6)
    return Load(result["requests"], per_s, result["p50_us"] / 1e3, result["p99_us"] / 1e3)


def _script(target: Target, key: str) -> str:
    headers = {"Content-Type": "application/json", **target.headers}
    values = {
        "name": _lua(key),
        "parts": "{" + ", ".join(map(_lua, target.body.split(PLACE))) + "}",
        "head": _lua(target.head),
        "tail": _lua(target.tail),
        "times": str(target.repeat),
        "keyed": "true" if target.keyed else "false",
        "headers": "{"
        + ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in headers.items())
        + "}",
    }
    return "".join(f"local {variable} = {value}\n" for variable, value in values.items()) + _SCRIPT


def _lua(text: str) -> str:
    """A string of Lua, every byte spelled out."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
