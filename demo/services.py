"""The steps of the demo that run a service: deploy, follow demand, sleep, wake."""

import json
import time
from pathlib import Path

from rich.console import Console

from demo import traffic
from kumoi.client.clients import Kumoi
from kumoi.model.jobs import Resources
from kumoi.model.services import RevisionSpec, ScaleSpec, Service, ServiceSpec

PYTHON = "/usr/bin/python3"
PORT = 8_000
READY_S = 60.0
SLEEP_S = 120.0
MINUTE_S = 60.0
SEARCH = "/search?q=async"


def deploy(client: Kumoi, project: str, program: Path) -> Service:
    """Create the search service and wait until a replica is ready."""
    client.files.put(project, program.name, program)
    run = RevisionSpec(
        port=PORT,
        command=(PYTHON, program.name),
        resources=Resources(cpu_milli=300, memory_bytes=256 << 20),
        concurrency=2,
    )
    scale = ScaleSpec(min_replicas=0, max_replicas=6, slo_wait_ms=10_000)
    service = client.services.create(project, ServiceSpec(run=run, name="search", scale=scale))
    return _until(client, service.id, ready=True, within_s=READY_S)


def follow(client: Kumoi, service: Service, data_dir: Path, console: Console) -> list[str]:
    """A bursty minute. SystemExit if a request was lost."""
    gateway = address(data_dir)
    heard, looks = traffic.replay(
        client, service.id, gateway, service.url_path + SEARCH, length_s=MINUTE_S, console=console
    )
    if heard.lost or not heard.answered:
        raise SystemExit(f"{len(heard.lost)} requests were lost: {heard.lost[:3]}")
    waits_s = sorted(heard.waits_s)
    half_s, most_s = waits_s[len(waits_s) // 2], waits_s[len(waits_s) * 99 // 100]
    ready = [look.ready for look in looks]
    return [
        f"{heard.answered} requests answered, 0 lost; replicas went from {min(ready)} to {max(ready)}",
        f"half within {half_s:.2f} s, 99 % within {most_s:.2f} s",
    ]


def sleep(client: Kumoi, service: Service) -> str:
    """Wait until the service has no replica left."""
    began_s = time.perf_counter()
    _until(client, service.id, ready=False, within_s=SLEEP_S)
    return f"no replica left after {time.perf_counter() - began_s:.0f} s without requests"


def wake(service: Service, data_dir: Path) -> str:
    """One request to a service that sleeps."""
    heard = traffic.Heard()
    traffic.ask(*address(data_dir), service.url_path + SEARCH, heard)
    if heard.lost:
        raise SystemExit(f"the request that should have woken the service was lost: {heard.lost}")
    return f"answered after {heard.waits_s[0]:.2f} s, the search itself included"


def delete(client: Kumoi, service: Service) -> str:
    """Delete the service; its replicas finish what they do."""
    client.services.delete(service.id, client.services.get(service.id).version)
    for found in client.services.watch(service.id, timeout_s=READY_S):
        if found.state == "deleted":
            break
    return "deleted, no replica left"


def address(data_dir: Path) -> tuple[str, int]:
    """Where the gateway of this region listens."""
    found = json.loads((data_dir / "run" / "gateway.json").read_text())
    host, _, port = found["listen"].rpartition(":")
    return host, int(port)


def _until(client: Kumoi, service: str, *, ready: bool, within_s: float) -> Service:
    """The service as soon as it has replicas that are ready, or none at all."""
    for found in client.services.watch(service, timeout_s=within_s):
        if (found.ready > 0) if ready else (found.ready + found.starting + found.draining == 0):
            return found
    raise SystemExit(f"the service {service} is deleted")
