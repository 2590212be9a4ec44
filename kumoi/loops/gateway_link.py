"""The plane's side of its talk with the gateway: HTTP over a Unix socket, a table out, reports in.

The gateway never calls the plane. A thread waits at `/report` (the gateway answers at once when something
needs the plane) and wakes the loop; the loop reads what was heard last and puts a new table when one is due.
"""

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from kumoi.loops.service_views import NOWHERE
from kumoi.model.routes import GatewayReport, RouteTable, ServiceRoute

SILENT_S = 5.0
"""Not heard for so long, the gateway is taken for absent."""
STARTING_S = 15.0
"""For so long a gateway of the plane's own may take to be heard for the first time."""
POLL_WAIT_MS = 1_000
TIMEOUT_S = 3.0
RETRY_S = 0.2
PAUSE_S = 0.02
"""Between two reports at least: requests that nobody can serve must not keep the plane busy."""
_ERRORS = (OSError, http.client.HTTPException, msgspec.MsgspecError, ValueError)
ANSWER_BYTES_MAX = 64 << 20

_log = logging.getLogger(__name__)
_reports = msgspec.json.Decoder(GatewayReport)


@dataclass(frozen=True, slots=True)
class Heard:
    """The last report, and since when (microseconds UTC) the gateway has been heard without a break."""

    report: GatewayReport
    since_us: int


class Gateway(Protocol):
    """What the services loop needs of a gateway."""

    def heard(self) -> Heard | None:
        """What it said last; None while it is silent."""

    def is_starting(self) -> bool:
        """Whether it is silent only because the plane has just started it, or is about to."""

    def publish(self, services: tuple[ServiceRoute, ...]) -> int:
        """Have these routes used. Returns the version of the table that holds them. Never raises."""


class _Refused(Exception):
    """The gateway uses a newer table."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the gateway uses the table {version}")
        self.version = version


class _Version(msgspec.Struct):
    version: int


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("gateway", timeout=TIMEOUT_S)
        self._place = place

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._place))


def _is_over(route: ServiceRoute) -> bool:
    """Whether a route is that of a deleted service of which nothing runs any more."""
    return route.hosts == (NOWHERE,) and not route.replicas


class GatewayProcess(Protocol):
    """Where a gateway comes from."""

    def ensure(self) -> None:
        """Start one if there is none. Asked again and again while none is heard."""

    def end(self) -> None:
        """End it: there is nothing to carry."""


class GatewayLink:
    """Talks to the gateway at a socket. `wake` is called, on a thread of its own, after every report.

    With a `process` the gateway is started when there is something to carry and none is heard.
    """

    def __init__(
        self,
        place: Path,
        clock_us: Callable[[], int],
        wake: Callable[[], None],
        process: GatewayProcess | None = None,
    ) -> None:
        self._place = place
        self._clock_us = clock_us
        self._wake = wake
        self._process = process
        self._lock = threading.Lock()
        self._heard: Heard | None = None
        self._heard_s = 0.0
        self._routes: tuple[ServiceRoute, ...] | None = None
        self._version = 0
        self._is_used = False
        self._used_s = 0.0
        self._needed_s: float | None = None
        self._was_heard = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="gateway-link", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. The gateway goes on, unless it has nothing to carry."""
        self._stopping.set()
        self._thread.join(TIMEOUT_S + 1)
        with self._lock:
            is_idle = self._routes is not None and all(map(_is_over, self._routes))
        if is_idle and self._process is not None:
            self._process.end()

    def heard(self) -> Heard | None:
        """See `Gateway.heard`."""
        with self._lock:
            if self._heard is not None and time.monotonic() - self._heard_s > SILENT_S:
                self._heard = None
            return self._heard

    def is_starting(self) -> bool:
        """See `Gateway.is_starting`. One that was heard and fell silent is none that starts."""
        with self._lock:
            if self._process is None or self._was_heard:
                return False
            return self._needed_s is None or time.monotonic() - self._needed_s < STARTING_S

    def publish(self, services: tuple[ServiceRoute, ...]) -> int:
        """See `Gateway.publish`. Asked again with the same routes it does nothing unless they were lost."""
        with self._lock:
            used = self._heard.report.table_version if self._heard else 0
            if services and self._needed_s is None:
                self._needed_s = time.monotonic()
            if services != self._routes:
                self._routes, self._is_used = services, False
                self._version = max(self._version, used) + 1
            elif self._is_used and used < self._version and self._heard_s > self._used_s:
                # It has started anew with an older table, or none.
                self._is_used = False
            table = RouteTable(self._version, services)
            if self._is_used or self._heard is None:
                return self._version
        self._put(table)
        with self._lock:
            return self._version

    def _put(self, table: RouteTable) -> None:
        """Two tries: the second one is newer than what the gateway had from another plane."""
        for _ in range(2):
            try:
                self._request("PUT", "/table", msgspec.json.encode(table))
            except _Refused as refused:
                table = RouteTable(refused.version + 1, table.services)
            except _ERRORS as error:
                _log.warning("the gateway did not take the table: %s", error)
                break
            else:
                with self._lock:
                    self._version, self._is_used = table.version, True
                    self._used_s = time.monotonic()
                return
        with self._lock:
            self._version = max(self._version, table.version)

    def _poll(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            with self._lock:
                version = self._version
            try:
                asked = f"/report?wait_ms={POLL_WAIT_MS}&table={version}"
                report = _reports.decode(self._request("GET", asked))
            except _ERRORS as error:
                _log.debug("the gateway is not heard: %s", error)
                pause_s = RETRY_S
                self._miss()
                continue
            # One that uses another table answers at once, and goes on doing so until it has ours.
            pause_s = PAUSE_S if report.table_version == version else RETRY_S / 4
            self._take(report)
            self._wake()

    def _miss(self) -> None:
        if self._process is not None and self._routes:
            try:
                self._process.ensure()
            except OSError as error:
                _log.warning("the gateway cannot be looked after: %s", error)
        if self.heard() is None and self._heard_s:
            self._heard_s = 0.0
            _log.warning("the gateway at %s is silent; replicas stay as they are", self._place)
            self._wake()

    def _take(self, report: GatewayReport) -> None:
        with self._lock:
            since_us = self._heard.since_us if self._heard else self._clock_us()
            if self._heard is None:
                _log.info("the gateway at %s answers", self._place)
            self._heard = Heard(report, since_us)
            self._heard_s = time.monotonic()
            self._was_heard = True

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer's body. One of `_ERRORS` where there is no good one."""
        connection = _Connection(self._place)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.CONFLICT:
            raise _Refused(msgspec.json.decode(content, type=_Version).version)
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ValueError(
                f"{method} {path.partition('?')[0]} was answered {answer.status}: {content[:200]!r}"
            )
        return content
