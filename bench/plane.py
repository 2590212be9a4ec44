"""A real plane as a subprocess on 127.0.0.1, and a small client for it.

The client is the standard library's, so that a bench measures the plane and not the SDK. Leaving a `Region`
ends every process that came out of it, also those that are meant to survive their plane.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ports import port_free

from kumoi.store.errors import StoreError
from kumoi.store.sqlite import SqliteFile

ROOT = Path(__file__).resolve().parents[1]
READY_S = 30.0
STOP_S = 20.0
CALL_S = 60.0
POLL_S = 0.002
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class PlaneError(Exception):
    """The plane did not do what a bench needs; the text has its answer."""


def kumoi_find() -> str:
    """The command, of this checkout where it was set up."""
    for found in (ROOT / ".venv/bin/kumoi", Path(sys.executable).with_name("kumoi")):
        if found.exists():
            return str(found)
    raise PlaneError("the command kumoi is not installed: run `make` first")


class Client:
    """One kept connection with one token. ConnectionError or HTTPException when the plane is gone."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_S)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def raw(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, bytes]:
        """Status and body of one request; once more, if that is safe, where the kept connection was stale."""
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        data = None if body is None else json.dumps(body).encode()
        for last in (key is None and method != "GET", True):
            try:
                self._connection.request(method, path, data, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if last:
                    raise
        raise AssertionError("the second try returns or raises")

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """The JSON of the answer. PlaneError for every status from 400 on."""
        status, answer = self.raw(method, path, body, key)
        if status >= 400:
            raise PlaneError(f"{method} {path} was answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def items(self, path: str) -> Iterator[Any]:
        """Every item of a paged list."""
        cursor: str | None = ""
        while cursor is not None:
            mark = "&" if "?" in path else "?"
            page = self.call("GET", f"{path}{mark}limit=1000" + (f"&cursor={cursor}" if cursor else ""))
            yield from page["items"]
            cursor = page["next"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Region:
    """A plane on a data directory, started as often as needed on the same port. A context manager."""

    def __init__(self, *flags: str, data_dir: Path | None = None) -> None:
        self._temporary = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="kumoi-bench-"))
        self.port = port_free()
        self.flags = flags
        self.log = self.data_dir / "plane.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process of the plane that runs now."""
        if self.process is None:
            raise PlaneError("the plane was not started")
        return self.process.pid

    def program(self) -> list[str]:
        """What is started with `up` and its flags."""
        return [kumoi_find()]

    def spawn(self) -> None:
        """Start the process of the plane, without waiting for it."""
        command = [*self.program(), "up", "--data-dir", str(self.data_dir)]
        command += ["--listen", f"127.0.0.1:{self.port}", *self.flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUMOI_")}
        environment["KUMOI_VOLUME_ENCRYPTION"] = "false"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> float:
        """Start the plane; returns the seconds from there to its first answer on /healthz."""
        begun = time.perf_counter()
        self.spawn()
        while not self._healthy():
            if self.process is None or self.process.poll() is not None:
                raise PlaneError(f"the plane ended while it was started; its log ends:\n{self.tail()}")
            if time.perf_counter() - begun > READY_S:
                raise PlaneError(f"the plane is not ready after {READY_S:.0f} s; its log:\n{self.tail()}")
            time.sleep(POLL_S)
        return time.perf_counter() - begun

    def _healthy(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(_HEALTH)
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, as a crash would be. What the plane has started lives on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
            self.process = None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
            self.process = None
        except subprocess.TimeoutExpired:
            self.kill()

    def end(self, *, keep: bool = False) -> None:
        """Stop the plane, end what outlived it, remove its control groups and, if temporary, its data."""
        self.stop()
        incarnation = incarnation_read(self.data_dir)
        for _ in range(50):
            left = list(holders(self.data_dir))
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.05)
        if incarnation:
            groups_remove(incarnation)
        if keep:
            print(f"kept for a look: {self.data_dir}", file=sys.stderr)
        elif self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def tail(self) -> str:
        """The end of what the planes have written."""
        return self.log.read_text(errors="replace")[-3_000:] if self.log.exists() else ""

    def operator(self) -> Client:
        """A client with the operator's token."""
        return Client(self.port, (self.data_dir / "admin.token").read_text().strip())

    def tenant(self, name: str = "bench") -> "Tenant":
        """A new organization with a project."""
        operator = self.operator()
        made = operator.call("POST", "/v1/organizations", {"name": name})
        operator.close()
        tenant = Tenant(self.port, made["organization"]["id"], made["admin_token"], "")
        tenant.project = tenant.project_create(name)
        return tenant


class Tenant:
    """An organization's administrator, and one of its projects."""

    def __init__(self, port: int, organization: str, token: str, project: str) -> None:
        self.organization = organization
        self.token = token
        self.project = project
        self.port = port
        self.client = Client(port, token)

    def project_create(self, name: str) -> str:
        """The id of a new project."""
        path = f"/v1/organizations/{self.organization}/projects"
        made = self.client.call("POST", path, {"name": name}, f"project-{name}")
        return str(made["id"])

    def submit(self, spec: dict[str, object], key: str | None = None) -> str:
        """The id of a new job."""
        return str(self.client.call("POST", f"/v1/projects/{self.project}/jobs", spec, key)["id"])

    def job(self, job: str) -> Any:
        """A job as it is now."""
        return self.client.call("GET", f"/v1/jobs/{job}")

    def job_wait(self, job: str, timeout_s: float, poll_s: float = 0.01) -> Any:
        """The job once it has ended. PlaneError if it does not in time."""
        deadline = time.monotonic() + timeout_s
        while (found := self.job(job))["ended_at"] is None:
            if time.monotonic() > deadline:
                raise PlaneError(f"the job {job} did not end in {timeout_s} s: {found}")
            time.sleep(poll_s)
        return found


def incarnation_read(data_dir: Path) -> str | None:
    """The incarnation of an embedded store, which names its control groups."""
    database = data_dir / "kumoi.db"
    if not database.exists():
        return None
    try:
        with SqliteFile(database, data_dir / "keys").connected() as connection:
            row = connection.execute("SELECT incarnation FROM region").fetchone()
    except (StoreError, ValueError):
        return None
    return str(row[0]) if row else None


def groups_remove(incarnation: str) -> None:
    """Remove a store's control groups in every hierarchy; what still holds processes stays."""
    for place, names, _ in os.walk("/sys/fs/cgroup"):
        if "kumoi" not in names:
            continue
        names.remove("kumoi")
        base = Path(place, "kumoi", incarnation)
        for path in [*base.glob("*/"), base]:
            with contextlib.suppress(OSError):
                path.rmdir()


def holders(data_dir: Path) -> Iterator[int]:
    """Processes that hold the lock of an attempt of this data directory: supervisors and their sandboxes."""
    place = f"{data_dir.resolve()}/tasks/.live/"
    for pid in process_ids():
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if str(Path(entry.path).readlink()).startswith(place):
                        yield pid
                        break


def process_ids() -> list[int]:
    """Every process of this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def descendants(pids: Iterable[int]) -> list[int]:
    """Processes with everything below them."""
    children: dict[int, list[int]] = {}
    for pid in process_ids():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size: private memory, and each one's share of what is shared."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1_024
    return total
