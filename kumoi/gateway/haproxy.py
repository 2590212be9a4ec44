"""HAProxy carries what needs no holding: services with ready replicas.

The gateway writes its configuration, tells it over the runtime socket which replicas there are, and reads its
counters. A service is HAProxy's once nobody waits for it in the activator, so that who came first is served
first; where no replica is ready, HAProxy's last resort is the activator.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Final

from kumoi.gateway.counters import BOUNDS_S, Carried
from kumoi.gateway.haproxy_config import (
    ACTIVATOR,
    COUNT_REFUSED,
    COUNT_TIMES,
    COUNT_VIOLATED,
    COUNT_WAITS,
    FIRST_BACKEND_ID,
    RELAY_NEWS,
    Places,
    config_text,
    maps_text,
    namespace_name,
    relay_text,
    server_line,
)
from kumoi.gateway.haproxy_process import (
    HaproxyFailed,
    haproxy_counts,
    haproxy_order,
    haproxy_rows,
    haproxy_start,
    pid_end,
    pid_read,
    pids_of,
)
from kumoi.gateway.services import Replica, Service
from kumoi.gateway.traffic import Traffic

LOOK_S: Final = 0.2
HANDOVER_S: Final = 0.05
AGAIN_S: Final = 1.0
RELOAD_S: Final = 1.0
"""Between two reloads, and so much more for each earlier process that still has connections."""
EARLIER_MAX: Final = 16
STEP_S: Final = 15.0
SAMPLE_S: Final = 0.1
STATUS_COLUMNS: Final = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
NEWS_AT_ONCE: Final = 100
EXACT_MS: Final = 5
"""HAProxy's times are whole milliseconds: shorter ones are known better from how many are in flight."""
_log = logging.getLogger(__name__)


class Haproxy:
    """Keeps one HAProxy in step with the traffic's table. `start` raises HaproxyFailed if it cannot run."""

    def __init__(self, program: str, traffic: Traffic, places: Places) -> None:
        self._program = program
        self._traffic = traffic
        self._places = places
        self._changed = asyncio.Event()
        self._servers: dict[tuple[str, str], int] = {}
        self._leaving: set[tuple[str, str]] = set()
        self._relays: dict[str, int] = {}
        self._earlier: dict[int, dict[str, int]] = {}
        """Processes that only finish what they have, oldest first; what was in flight there by replica."""
        self._reloaded = 0.0
        self._is_late = False
        self._config = ""
        self._pid: int | None = None
        self._numbers: dict[int, str] = {}
        self._last: dict[tuple[str, str, str], int] = {}
        self._sampled = 0.0
        self._stopping = False
        self._moves = False
        self._rows: list[dict[str, str]] = []
        self._task: asyncio.Task[None] | None = None
        self._news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        traffic.changed = self._changed.set

    @property
    def listen(self) -> str:
        """HOST:PORT of the public listener."""
        return self._places.listen

    async def start(self) -> None:
        """Take over the HAProxy that runs, or start one; then follow."""
        self._news_listen()
        self._pid = pid_read(self._places.pid)
        with contextlib.suppress(OSError):
            self._config = self._places.config.read_text("utf-8")
        if self._pid is not None:
            try:
                await self._adopt()
                self._watch(self._pid)
            except HaproxyFailed as error:
                _log.warning("the running HAProxy is replaced: %s", error)
                self._config = ""
        await self._follow_once()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _adopt(self) -> None:
        """Learn what an earlier gateway told it."""
        for row in await haproxy_rows(self._places.admin):
            if row["svname"] not in ("BACKEND", ACTIVATOR):
                self._servers[row["pxname"], row["svname"]] = int(row["slim"] or 0)
            self._remember(row)
        self._numbers_follow()
        for number, values in (await haproxy_counts(self._places.admin)).items():
            for index, now in enumerate(values):
                self._grown_by(self._numbers.get(number, ""), "gpc", str(index), now)
        for place in self._places.directory.glob("rep*.pid"):
            pid = pid_read(place)
            if pid is not None:
                self._relays[place.stem] = pid

    async def stop(self, timeout_s: float) -> None:
        """End it softly: what is in flight may finish for so long."""
        self._stopping = True
        self._changed.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STEP_S)
            self._task.cancel()
        asyncio.get_running_loop().remove_reader(self._news)
        self._news.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        for pid in self._carrying():
            pid_end(pid, signal.SIGUSR1)
        while self._carrying() and loop.time() < end:
            await asyncio.sleep(HANDOVER_S)
        for pid in pids_of(self._places.directory):
            pid_end(pid, signal.SIGTERM)

    def _carrying(self) -> list[int]:
        """HAProxy without its relays: the process of now and earlier ones, also of earlier gateways."""
        found = pids_of(self._places.directory)
        return [pid for pid, pid_file in found.items() if pid_file == self._places.pid]

    async def _follow(self) -> None:
        while not self._stopping:
            pause_s = HANDOVER_S if self._waits() else LOOK_S if self._moves else AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            self._changed.clear()
            if self._stopping:
                return
            try:
                await self._follow_once()
                if await self.sample():
                    self._compare()
            except (HaproxyFailed, OSError) as error:
                _log.error("HAProxy does not follow, trying again: %s", error)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                _log.exception("following with HAProxy failed")
                await asyncio.sleep(AGAIN_S)

    def _waits(self) -> bool:
        """Whether a service is about to be handed over, or a server about to be removed."""
        return (
            self._is_late
            or bool(self._leaving)
            or any(
                replica.takes
                and self._servers.get((service.route.id, replica.id)) != service.route.concurrency
                for service in self._traffic.services.values()
                for replica in service.replicas.values()
            )
        )

    async def _follow_once(self) -> None:
        await self._process_follow()
        commands: list[str] = []
        for service in list(self._traffic.services.values()):
            for replica in list(service.replicas.values()):
                commands += await self._server_follow(service, replica)
        commands += self._servers_end()
        await self._relays_keep()
        if commands:
            answer = await haproxy_order(self._places.admin, commands)
            _log.debug("HAProxy: %s", answer.strip())
        await self._leaving_remove()

    async def _process_follow(self) -> None:
        """A configuration that differs, or a process that is gone: start anew, taking over the listeners."""
        services = self._traffic.table.services
        config = config_text(services, self._places)
        maps = maps_text(services)
        wanted = config + "".join(f"# {line}\n" for text in maps for line in text.splitlines())
        running = pid_read(self._places.pid)
        if running is not None and wanted == self._config:
            self._numbers_follow()
            return
        self._is_late = running is not None and not self._may_reload()
        if self._is_late:
            return
        if running is not None:
            await self.sample()
            self._earlier[running] = self._busy_own()
        for named, text in zip((True, False), maps, strict=True):
            self._places.hosts(named).write_text(text, "utf-8")
        self._places.config.write_text(wanted, "utf-8")
        old = () if running is None else ("-x", str(self._places.admin), "-sf", str(running))
        self._config = ""
        try:
            self._pid = await haproxy_start(self._program, self._places.config, self._places.pid, *old)
        except HaproxyFailed:
            # Whoever finds this file takes it for what runs.
            self._places.config.unlink(missing_ok=True)
            raise
        self._config = wanted
        self._servers.clear()
        self._leaving.clear()
        self._last.clear()
        self._numbers_follow()
        self._watch(self._pid)

    def _may_reload(self) -> bool:
        """Whether enough time has passed; the oldest process ends where there are too many."""
        self._earlier_forget()
        now = asyncio.get_running_loop().time()
        if now - self._reloaded < RELOAD_S * (1 + len(self._earlier)):
            return False
        self._reloaded = now
        if len(self._earlier) >= EARLIER_MAX:
            pid_end(next(iter(self._earlier)), signal.SIGTERM)
        return True

    def _earlier_forget(self) -> None:
        """Processes that have ended carry nothing."""
        self._earlier = {pid: busy for pid, busy in self._earlier.items() if Path(f"/proc/{pid}").exists()}

    def _busy_own(self) -> dict[str, int]:
        """Requests in flight by replica, without those of earlier processes."""
        return {
            replica_id: busy - self._busy_earlier(replica_id)
            for service in self._traffic.services.values()
            for replica_id, busy in service.carried.busy_at.items()
        }

    def _busy_earlier(self, replica_id: str) -> int:
        """What was in flight there when earlier processes were replaced: it may be still."""
        return sum(busy.get(replica_id, 0) for busy in self._earlier.values())

    async def _relays_keep(self) -> None:
        """End relays that nobody needs any more; start those again that died."""
        replicas = {
            replica.id: replica
            for service in self._traffic.services.values()
            for replica in service.replicas.values()
        }
        leaving = {replica_id for _, replica_id in self._leaving}
        for replica_id in list(self._relays):
            if replica_id not in replicas and replica_id not in leaving:
                self._relay_end(replica_id)
            elif replica_id in replicas and not Path(f"/proc/{self._relays[replica_id]}").exists():
                del self._relays[replica_id]
                await self._address(replicas[replica_id])

    def _numbers_follow(self) -> None:
        self._numbers = {
            FIRST_BACKEND_ID + number: service.id
            for number, service in enumerate(self._traffic.table.services)
        }

    def _watch(self, pid: int) -> None:
        """Follow at once when the process ends."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            file = os.pidfd_open(pid)

            def ended() -> None:
                loop.remove_reader(file)
                os.close(file)
                self._changed.set()

            loop.add_reader(file, ended)

    def _compare(self) -> None:
        """Forget what HAProxy does not have after all, so that it is told again."""
        status = {(row["pxname"], row["svname"]): row["status"] for row in self._rows}
        for key in list(self._servers):
            if key not in status:
                del self._servers[key]
            elif status[key].startswith("MAINT"):
                del self._servers[key]
                self._leaving.add(key)

    async def _server_follow(self, service: Service, replica: Replica) -> list[str]:
        """The commands that make HAProxy use a replica, or use it no more."""
        key = (service.route.id, replica.id)
        known = self._servers.get(key)
        if not replica.takes:
            if known is None or (replica.ready is None and replica.route.serving):
                return []
            return self._server_end(key)
        limit = service.route.concurrency - replica.busy
        if known is None and (service.waiting or limit < 1):
            return []
        limit = max(limit, 1)
        if known == limit:
            return []
        name = "/".join(key)
        self._servers[key] = limit
        if known is not None:
            return [f"set maxconn server {name} {limit}"]
        if key in self._leaving:
            self._leaving.discard(key)
            return [f"set maxconn server {name} {limit}", f"set server {name} state ready"]
        address = await self._address(replica)
        if address is None:
            del self._servers[key]
            return []
        return [
            f"add server {server_line(service.route, replica.route, address)}",
            f"set maxconn server {name} {limit}",
            f"enable health {name}",
            f"enable server {name}",
        ]

    async def _address(self, replica: Replica) -> str | None:
        """Where HAProxy connects to: the replica, or a relay into its network namespace."""
        endpoint = replica.endpoint
        if not endpoint.netns:
            return f"{endpoint.address}:{endpoint.port}"
        if endpoint.userns or namespace_name(endpoint.netns) is None:
            return None
        if replica.id not in self._relays:
            config = self._places.directory / f"{replica.id}.cfg"
            config.write_text(relay_text(replica.route, self._places), "utf-8")
            pid_file = config.with_suffix(".pid")
            self._relays[replica.id] = await haproxy_start(self._program, config, pid_file)
        return self._places.seen(self._places.relay(replica.id))

    def _servers_end(self) -> list[str]:
        """Take out servers that the table names no more."""
        services = self._traffic.services
        gone = [
            key for key in self._servers if key[0] not in services or key[1] not in services[key[0]].replicas
        ]
        return [command for key in gone for command in self._server_end(key)]

    def _server_end(self, key: tuple[str, str]) -> list[str]:
        del self._servers[key]
        self._leaving.add(key)
        return [f"set server {'/'.join(key)} state maint"]

    async def _leaving_remove(self) -> None:
        """Forget servers whose last request has ended; only those of replicas that are gone."""
        services = self._traffic.services
        for key in list(self._leaving):
            if key[0] in services and key[1] in services[key[0]].replicas:
                continue
            await self.sample()
            answer = await haproxy_order(self._places.admin, [f"del server {'/'.join(key)}"])
            if "deleted" in answer or "No such" in answer:
                self._leaving.discard(key)
                self._relay_end(key[1])

    def _relay_end(self, replica_id: str) -> None:
        pid = self._relays.pop(replica_id, None)
        if pid is not None:
            pid_end(pid, signal.SIGUSR1)
        for place in self._places.directory.glob(f"{replica_id}.*"):
            place.unlink(missing_ok=True)
        self._places.relay(replica_id).unlink(missing_ok=True)

    def _news_listen(self) -> None:
        """Hear from relays which replica broke a connection."""
        place = self._places.directory / RELAY_NEWS
        place.unlink(missing_ok=True)
        self._news.bind(str(place))
        place.chmod(0o600)
        self._news.setblocking(False)
        asyncio.get_running_loop().add_reader(self._news, self._news_read)

    def _news_read(self) -> None:
        for _ in range(NEWS_AT_ONCE):
            try:
                replica_id = self._news.recv(1_024).decode("ascii", "replace").strip()
            except BlockingIOError:
                return
            for service in self._traffic.services.values():
                if replica_id in service.replicas:
                    self._traffic.suspected(service.replicas[replica_id])

    # counters

    async def sample(self) -> bool:
        """Read the counters into `carried`, at most ten times a second. Whether that was done."""
        now = asyncio.get_running_loop().time()
        since_s = now - self._sampled
        if since_s < SAMPLE_S:
            return False
        self._sampled = now
        try:
            rows = self._rows = await haproxy_rows(self._places.admin)
            counts = await haproxy_counts(self._places.admin)
        except HaproxyFailed:
            return False
        self._earlier_forget()
        before = self._arrived()
        by_backend: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            by_backend.setdefault(row["pxname"], []).append(row)
        for service_id, service in self._traffic.services.items():
            if service_id in by_backend:
                self._carried_add(service.carried, by_backend[service_id], min(since_s, AGAIN_S))
                for replica_id in service.replicas:
                    if busy := self._busy_earlier(replica_id):
                        at = service.carried.busy_at
                        at[replica_id] = at.get(replica_id, 0) + busy
        for number, values in counts.items():
            named = self._traffic.services.get(self._numbers.get(number, ""))
            if named is not None:
                self._counts_add(named, values)
        services = self._traffic.services.values()
        self._moves = self._arrived() > before or any(service.carried.busy for service in services)
        return True

    def _arrived(self) -> int:
        return sum(service.carried.arrived for service in self._traffic.services.values())

    def _carried_add(self, carried: Carried, rows: list[dict[str, str]], since_s: float) -> None:
        carried.waiting = carried.busy = 0
        carried.busy_at = {}
        before = carried.completed
        failed = service_ms = 0
        for row in rows:
            if row["svname"] == "BACKEND":
                carried.arrived += self._grown(row, "req_tot")
                carried.waiting += int(row["qcur"])
                failed += self._grown(row, "hrsp_5xx")
                continue
            fives = self._grown(row, "hrsp_5xx")
            failed -= fives
            if row["svname"] == ACTIVATOR:
                carried.arrived -= self._grown(row, "lbtot")
                continue
            ended = fives + sum(self._grown(row, name) for name in STATUS_COLUMNS if name != "hrsp_5xx")
            carried.completed += ended
            carried.retried += self._grown(row, "wretr")
            carried.waiting += int(row["qcur"])
            carried.busy += int(row["scur"])
            carried.busy_at[row["svname"]] = int(row["scur"])
            service_ms += ended * max(0, int(row["ttime"] or 0) - int(row["qtime"] or 0))
        carried.lost += max(0, failed)
        carried.violated += max(0, failed)
        if service_ms >= EXACT_MS * (carried.completed - before):
            carried.service_us += service_ms * 1_000
        else:
            carried.service_us += int(carried.busy * since_s * 1_000_000)

    def _counts_add(self, service: Service, values: list[int]) -> None:
        grown = [self._grown_by(service.route.id, "gpc", str(index), now) for index, now in enumerate(values)]
        carried = service.carried
        carried.violated += grown[COUNT_VIOLATED]
        carried.refused += grown[COUNT_REFUSED]
        carried.lost -= min(carried.lost, grown[COUNT_REFUSED])
        for index in range(len(BOUNDS_S)):
            carried.waits_above[index] += grown[COUNT_WAITS + index]
            carried.times_above[index] += grown[COUNT_TIMES + index]

    def _grown(self, row: dict[str, str], column: str) -> int:
        return self._grown_by(row["pxname"], row["svname"], column, int(row[column] or 0))

    def _grown_by(self, backend: str, server: str, column: str, now: int) -> int:
        """How much a counter has grown since the last look; a new process begins at 0 again."""
        key = (backend, server, column)
        before = self._last.get(key, 0)
        self._last[key] = now
        return now - before if now >= before else now

    def _remember(self, row: dict[str, str]) -> None:
        """Counters that an earlier gateway has reported are not reported again."""
        for column in (*STATUS_COLUMNS, "req_tot", "lbtot", "wretr"):
            self._grown(row, column)
