"""Two planes on one PostgreSQL: one is killed or frozen under load, the other takes over, nothing is lost."""

import base64
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plane_process import PlaneProcess

from kumoi.client.clients import Kumoi
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.receipt import receipt_parse
from kumoi.ledger.verify import log_verify
from kumoi.model.jobs import JobSpec, Resources

JOBS = 6
ARRAY = 10
WAIT_S = 90.0
TAKEOVER_S = 30.0
SCRIPT = "sleep 0.2; echo $KUMOI_JOB_ID $KUMOI_TASK_INDEX >> runs"

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


class Pair:
    """Two planes on one database and one data directory."""

    def __init__(self, data_dir: Path, database: str) -> None:
        self.database = database
        flags = ("--host-cpu-milli", "8000")
        self.planes = [PlaneProcess(data_dir, database, *flags) for _ in range(2)]
        for plane in self.planes:
            plane.await_ready()
        with Kumoi(self.planes[0].url, (data_dir / "admin.token").read_text().strip()) as operator:
            self.token = operator.organizations.create("acme").admin_token or ""
        with self.client(0) as client:
            self.project = client.projects.create("acme", "lab").id

    def client(self, index: int) -> Kumoi:
        """The tenant's client of one plane."""
        return Kumoi(self.planes[index].url, self.token)

    def leader(self) -> int:
        """Which plane runs the tasks loop, as the database says."""
        pid = self.holder().split(":")[1]
        return next(i for i, plane in enumerate(self.planes) if str(plane.process.pid) == pid)

    def holder(self) -> str:
        """Who holds the lease of the tasks loop."""
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            row = connection.execute("SELECT holder FROM leases WHERE name = 'tasks'").fetchone()
        assert row is not None
        return str(row[0])

    def await_takeover(self, holder: str) -> None:
        """Wait until the lease is somebody else's."""
        until_s = time.monotonic() + TAKEOVER_S
        while self.holder() == holder:
            assert time.monotonic() < until_s, f"{holder} still holds the lease after {TAKEOVER_S} s"
            time.sleep(0.2)

    def stop(self) -> None:
        """End both."""
        for plane in self.planes:
            plane.stop()


@pytest.fixture
def pair(tmp_path: Path, postgres_url_empty: str) -> Iterator[Pair]:
    """Two planes started at the same moment on an empty database."""
    planes = Pair(tmp_path, postgres_url_empty)
    yield planes
    planes.stop()


def _submit(pair: Pair, plane: int, count: int) -> list[str]:
    resources = Resources(cpu_milli=1_000, memory_bytes=64 << 20, wall_time_s=60)
    spec = JobSpec(command=("/bin/sh", "-c", SCRIPT), array_size=ARRAY, resources=resources)
    with pair.client(plane) as client:
        return [client.jobs.create(pair.project, spec).id for _ in range(count)]


def _checkpoint(pair: Pair, plane: int) -> bytes:
    """A checkpoint that covers the newest event."""
    with pair.client(plane) as client:
        newest = next(iter(client.events.organization("acme", limit=1)))
        client.log.receipt(newest.id, timeout_s=20)
        return client.log.checkpoint()


def _check_once(pair: Pair, plane: int, jobs: list[str]) -> None:
    with pair.client(plane) as client:
        states = {job: client.jobs.wait(job, timeout_s=WAIT_S).state for job in jobs}
        runs = Counter(client.files.get(pair.project, "runs").decode().splitlines())
    assert set(states.values()) == {"succeeded"}, states
    assert runs == Counter(f"{job} {index}" for job in jobs for index in range(ARRAY))


def _check_log(pair: Pair, plane: int, older: bytes) -> None:
    """One history: it holds what was signed before the takeover, and receipts for what came after."""
    with pair.client(plane) as client:
        key = vkey_parse(client.log.vkey().strip())
        receipts = []
        for event in client.events.organization("acme", limit=20):
            receipt = client.log.receipt(event.id, timeout_s=20)
            entry = event_commit(base64.b64decode(receipt.salt), base64.b64decode(receipt.canonical))
            receipts.append((receipt_parse(receipt.proof.encode()), entry))
        report = log_verify(client.log.read, key, older=[older], receipts=receipts)
    assert report.older_checked == 1
    assert report.receipts_checked == len(receipts) > 0


def test_killed_plane(pair: Pair) -> None:
    """kill -9 of the plane that runs the loops: the other goes on with what it left."""
    leader = pair.leader()
    other = 1 - leader
    jobs = _submit(pair, leader, JOBS // 2) + _submit(pair, other, JOBS // 2)
    older = _checkpoint(pair, other)
    holder = pair.holder()
    pair.planes[leader].signal(signal.SIGKILL)
    pair.await_takeover(holder)
    jobs += _submit(pair, other, 1)
    _check_once(pair, other, jobs)
    _check_log(pair, other, older)


def test_frozen_plane_that_comes_back(pair: Pair) -> None:
    """A frozen plane wakes up with old plans in its hands: none of them comes true a second time."""
    leader = pair.leader()
    other = 1 - leader
    jobs = _submit(pair, leader, JOBS // 2) + _submit(pair, other, JOBS // 2)
    older = _checkpoint(pair, other)
    holder = pair.holder()
    pair.planes[leader].signal(signal.SIGSTOP)
    pair.await_takeover(holder)
    jobs += _submit(pair, other, 1)
    pair.planes[leader].signal(signal.SIGCONT)
    jobs += _submit(pair, leader, 1)
    _check_once(pair, other, jobs)
    _check_once(pair, leader, jobs)
    _check_log(pair, other, older)
