"""A service on a real plane under load: cold starts, scaling, and what is lost when things are killed.

Clients keep their connection and ask again as soon as they are answered. A request is lost if the answer is
not 200, or if the connection ends without one: all of them are GETs, which may be repeated.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from plane import PlaneError, Region, Tenant
from report import say

from kumoi.main.memory_place import memory_place

CLIENTS = 8
WAIT_S = 60.0
POLL_S = 0.01
COLD_STARTS = 5
MARK = "kumoi-bench-replica"
SERVER = f"""
import os, socket, threading
mark = "{MARK}"
name = os.urandom(8).hex().encode()
def serve(connection):
    with connection:
        while data := connection.recv(65536):
            if data.endswith(b"\\r\\n\\r\\n"):
                connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 16\\r\\n\\r\\n" + name)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@dataclass
class Seen:
    """What the clients have seen so far."""

    answered: int = 0
    lost: int = 0
    replicas: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    def lose(self, reason: str) -> None:
        """One more was lost."""
        self.lost += 1
        self.reasons.append(reason)


@dataclass(frozen=True)
class Measured:
    """Medians in seconds, and how many requests were lost of how many."""

    cold_start_s: float
    scale_1_to_4_s: float
    lost: int
    answered: int
    reasons: tuple[str, ...]


class Deployed:
    """One service of a tenant, and its gateway."""

    def __init__(self, region: Region, tenant: Tenant) -> None:
        self._region = region
        self._tenant = tenant
        run = {
            "command": ["python3", "-I", "-S", "-c", SERVER],
            "port": 8_080,
            "concurrency": 16,
            "resources": {"cpu_milli": 100, "memory_bytes": 64 << 20},
            "readiness": {"path": "/", "interval_ms": 500},
        }
        scale = {"min_replicas": 0, "max_replicas": 8, "policy": "queue"}
        self.spec = {"name": "bench", "run": run, "scale": scale, "rollout": {"watch_s": 1}}
        made = tenant.client.call("POST", f"/v1/projects/{tenant.project}/services", self.spec, "bench")
        self.id = str(made["id"])
        self.path = str(made["url_path"])

    def read(self) -> dict[str, object]:
        """The service as it is now."""
        found: dict[str, object] = self._tenant.client.call("GET", f"/v1/services/{self.id}")
        return found

    def pin(self, replicas: int) -> None:
        """Keep so many replicas."""
        key = f"pin-{time.monotonic_ns()}"
        self._tenant.client.call("POST", f"/v1/services/{self.id}/pin", {"replicas": replicas}, key)

    def revise(self, number: int) -> int:
        """A new revision that does the same; its number."""
        service = self.read()
        spec = dict(service["spec"])  # type: ignore[call-overload]
        spec["run"] = {**spec["run"], "environment": {"ROUND": f"{number}-{time.monotonic_ns()}"}}
        headers = {
            "Authorization": f"Bearer {self._tenant.token}",
            "Content-Type": "application/json",
            "If-Match": f'"{service["version"]}"',
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._tenant.port, timeout=WAIT_S)
        with contextlib.closing(connection):
            connection.request("PUT", f"/v1/services/{self.id}", json.dumps(spec), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise PlaneError(f"updating was answered {answer.status}: {answer.read().decode()}")
        return int(str(service["revision"])) + 1

    def unpin(self) -> None:
        """Follow the demand again."""
        self._tenant.client.call("POST", f"/v1/services/{self.id}/unpin", None, f"un-{time.monotonic_ns()}")

    def until(self, true: Callable[[dict[str, object]], bool], seconds: float = WAIT_S) -> None:
        """Wait until the service is so."""
        end = time.monotonic() + seconds
        while not true(found := self.read()):
            if time.monotonic() > end:
                raise PlaneError(f"the service never came to be so: {json.dumps(found)[:2_000]}")
            time.sleep(POLL_S)

    def gateway_port(self) -> int:
        """Where the gateway listens."""
        place = self._region.data_dir / "run" / "gateway.json"
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                return int(str(json.loads(place.read_text())["listen"]).rpartition(":")[2])
            time.sleep(POLL_S)
        raise PlaneError("there is no gateway")


def plane_measure(rounds: int) -> Measured:
    """Everything, on a plane of its own."""
    with Region("--gateway-listen", "127.0.0.1:0") as region:
        region.start()
        try:
            deployed = Deployed(region, region.tenant())
            deployed.until(lambda service: service["ready"] == 1)
            say(f"{COLD_STARTS} cold starts")
            cold_s = median(cold_start(deployed) for _ in range(COLD_STARTS))
            say(f"scaling from 1 to 4, {COLD_STARTS} times")
            scale_s = median(asyncio.run(scale_up(deployed)) for _ in range(COLD_STARTS))
            say(f"{rounds} rounds of scaling, rollouts and kills")
            seen = asyncio.run(rounds_run(region, deployed, rounds))
        finally:
            region.stop()
            gateway_end(region)
    return Measured(cold_s, scale_s, seen.lost, seen.answered, tuple(seen.reasons))


def cold_start(deployed: Deployed) -> float:
    """From a request to a service at zero to its answer."""
    deployed.pin(0)
    deployed.until(
        lambda service: not service["ready"] and not service["starting"] and not service["draining"]
    )
    deployed.unpin()
    connection = http.client.HTTPConnection("127.0.0.1", deployed.gateway_port(), timeout=WAIT_S)
    with contextlib.closing(connection):
        begun = time.perf_counter()
        connection.request("GET", f"{deployed.path}/")
        status = connection.getresponse().status
        took_s = time.perf_counter() - begun
    if status != 200:
        raise PlaneError(f"a cold start was answered {status}")
    return took_s


async def scale_up(deployed: Deployed) -> float:
    """From the order of four replicas, where one is loaded, to answers of all four."""
    deployed.pin(1)
    await asyncio.to_thread(deployed.until, lambda service: (service["ready"], service["draining"]) == (1, 0))
    async with loaded(deployed) as seen:
        await answers_more(seen, 100)
        seen.replicas.clear()
        begun = time.perf_counter()
        await asyncio.to_thread(deployed.pin, 4)
        while len(seen.replicas) < 4:
            if time.perf_counter() - begun > WAIT_S:
                raise PlaneError(f"{len(seen.replicas)} of 4 replicas answered")
            await asyncio.sleep(POLL_S / 2)
        return time.perf_counter() - begun


async def rounds_run(region: Region, deployed: Deployed, rounds: int) -> Seen:
    """Each round: more and fewer replicas, a new revision, a replica killed, the plane killed."""
    async with loaded(deployed) as seen:
        for number in range(rounds):
            before = seen.lost
            await asyncio.to_thread(round_run, region, deployed, number)
            await answers_more(seen, 50)
            say(f"round {number + 1}: {seen.answered} answered, {seen.lost - before} lost")
        return seen


def round_run(region: Region, deployed: Deployed, number: int) -> None:
    """One round, without a look at what the clients see."""
    deployed.pin(3)
    deployed.until(lambda service: service["ready"] == 3)
    deployed.pin(2)
    deployed.until(lambda service: (service["ready"], service["draining"]) == (2, 0))
    revision = deployed.revise(number)
    deployed.until(lambda found: (found["revision"], found["ready"], found["draining"]) == (revision, 2, 0))
    os.kill(next(replica_pids()), signal.SIGKILL)
    deployed.until(lambda found: found["ready"] != 2 or bool(found["starting"]))
    deployed.until(lambda found: found["ready"] == 2)
    region.kill()
    region.start()
    deployed.until(lambda found: found["ready"] == 2)


def replica_pids() -> Iterator[int]:
    """The processes of replicas, by what they run."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().split(b"\0")
            if words[0].endswith(b"python3") and any(MARK.encode() in word for word in words):
                yield int(place.parent.name)


@contextlib.asynccontextmanager
async def loaded(deployed: Deployed) -> AsyncIterator[Seen]:
    """Clients that ask as long as this lasts."""
    seen, stop, port = Seen(), asyncio.Event(), deployed.gateway_port()
    clients = [asyncio.create_task(ask_on(port, deployed.path, seen, stop)) for _ in range(CLIENTS)]
    try:
        yield seen
    finally:
        stop.set()
        await asyncio.wait(clients, timeout=WAIT_S)


async def ask_on(port: int, path: str, seen: Seen, stop: asyncio.Event) -> None:
    """One client."""
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            seen.lose(f"connecting: {error}")
            await asyncio.sleep(POLL_S)
            continue
        with contextlib.closing(writer):
            while not stop.is_set() and await ask_once(reader, writer, path, seen):
                await asyncio.sleep(POLL_S / 5)


async def ask_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, seen: Seen) -> bool:
    """One request; whether the connection lives on."""
    try:
        writer.write(f"GET {path}/ HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        async with asyncio.timeout(WAIT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        seen.lose(f"{type(error).__name__}: {error}")
        return False
    if head.split()[1] == b"200":
        seen.answered += 1
        seen.replicas.add(body.decode("latin-1"))
    else:
        seen.lose(f"{head.split()[1].decode()}: {body.decode('latin-1')[:200]}")
    return b"connection: close" not in head


async def answers_more(seen: Seen, count: int) -> None:
    """Wait for so many more answers."""
    goal = seen.answered + count
    async with asyncio.timeout(WAIT_S):
        while seen.answered < goal:
            await asyncio.sleep(POLL_S)


def gateway_end(region: Region) -> None:
    """End the gateway, which outlives its plane, and its HAProxy, which outlives both."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads((region.data_dir / "run" / "gateway.json").read_text())
        os.kill(int(found["pid"]), signal.SIGTERM)
    end = time.monotonic() + WAIT_S
    while gateway_pids(region) and time.monotonic() < end:
        time.sleep(POLL_S)
    for pid in gateway_pids(region):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(memory_place(region.data_dir), ignore_errors=True)


def gateway_pids(region: Region) -> list[int]:
    """Processes that were told of the gateway's place: itself, HAProxy, its relays."""
    named = (region.data_dir / "run" / "gateway", memory_place(region.data_dir))
    places = [os.fsencode(place) for place in named]
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes()
            if any(place in words for place in places):
                found.append(int(command.parent.name))
    return found
