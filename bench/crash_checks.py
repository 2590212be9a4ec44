"""What must be true after a round of crashes, and who counts what is not."""

import base64
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plane import Client, PlaneError, Region, Tenant, process_ids

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.receipt import Receipt, receipt_parse, receipt_verify
from kumoi.ledger.verify import history_verify, log_verify

RECEIPTS_PER_ROUND = 5
LOGGED_S = 30.0
POLL_S = 0.05
SHOWN_MAX = 20


class Findings:
    """What broke, by kind; each is said at once with its round and the seed that repeats it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How much broke."""
        return self.count.total()

    def of(self, number: int) -> "RoundFindings":
        """The findings of one round."""
        return RoundFindings(self, number)

    def __str__(self) -> str:
        return ", ".join(f"{kind} {count}" for kind, count in self.count.items()) or "nothing broke"


class RoundFindings:
    """Adds to the findings, and says in which round."""

    def __init__(self, findings: Findings, number: int) -> None:
        self._findings = findings
        self._number = number

    def add(self, kind: str, text: str) -> None:
        """Count one, and say it unless that was said very often."""
        self._findings.count[kind] += 1
        if self._findings.count[kind] <= SHOWN_MAX:
            print(
                f"crash: {kind}: {text} (round {self._number}, seed {self._findings.seed})",
                file=sys.stderr,
                flush=True,
            )


def round_check(
    region: Region, tenant: Tenant, project: str, jobs: list[str], size: int, findings: RoundFindings
) -> set[str]:
    """Compare what the tasks wrote with what was submitted and what the plane says; returns the attempts."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    out = region.data_dir / "objects" / tenant.organization / "projects" / project / "out"
    lines = out.read_text().splitlines() if out.exists() else []
    written = Counter(line.removesuffix(f" {boot}") for line in lines)
    expected = {f"{job}/{index}" for job in jobs for index in range(size)}
    attempts: set[str] = set()
    for job in jobs:
        for task in tenant.client.items(f"/v1/jobs/{job}/tasks"):
            name = f"{job}/{task['index']}"
            attempts.update(attempt["id"] for attempt in task["attempts"])
            if written[name] == 0 or task["state"] != "succeeded":
                findings.add("lost", f"task {name} wrote {written[name]} lines and is {_told(task)}")
            expected.discard(name)
    for name in sorted(expected):
        findings.add("lost", f"task {name} is not among the tasks of its job")
    for name, count in written.items():
        job, _, index = name.partition("/")
        if job not in jobs or not index.isdigit() or int(index) >= size:
            findings.add("run_twice", f"a line of nobody who was submitted: {name!r}")
        elif count > 1:
            findings.add("run_twice", f"task {name} wrote {count} lines")
    for job in tenant.client.items(f"/v1/projects/{project}/jobs"):
        if job["id"] not in jobs:
            findings.add("run_twice", f"the job {job['id']} was submitted once more under one key")
    return attempts


def _told(task: dict[str, Any]) -> str:
    ends = [f"{attempt['state']}/{attempt['outcome']}" for attempt in task["attempts"]]
    return f"{task['state']} ({task['reason']}), attempts {ends}"


def orphans_find(attempts: set[str], project: str) -> Iterator[tuple[int, str]]:
    """Processes that are still in an attempt's control group, or in a sandbox of the project."""
    mounted = f"/{project} /project "
    for pid in process_ids():
        with contextlib.suppress(OSError):
            groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            found = attempts.intersection(line.rpartition("/")[2] for line in groups)
            if found:
                yield pid, f"is in the control group of the attempt {found.pop()}: {_command(pid)}"
            elif mounted in Path(f"/proc/{pid}/mountinfo").read_text():
                yield pid, f"is in a sandbox of the project {project}: {_command(pid)}"


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200]


class LogWatch:
    """Somebody outside who keeps every checkpoint it has seen and believes nothing else."""

    def __init__(self, region: Region, tenant: Tenant) -> None:
        self._public = Client(region.port, "")
        self._tenant = tenant
        self._key = vkey_parse(self.fetch("vkey").decode().strip())
        self._notes: list[bytes] = []
        self._newest: Checkpoint | None = None
        self._receipts: list[tuple[Receipt, bytes]] = []

    def fetch(self, path: str) -> bytes:
        """A public file of the log."""
        status, body = self._public.raw("GET", f"/log/{path}")
        if status != 200:
            raise PlaneError(f"GET /log/{path} was answered {status}")
        return body

    def check(self, findings: RoundFindings, chance: random.Random) -> None:
        """The log grew out of the last one seen, under the same key, and proves a sample of its events."""
        try:
            events = self._events_logged()
            note = self.fetch("checkpoint")
            newest = checkpoint_open(note, self._key).checkpoint
            if self._newest is not None:
                history_verify(self.fetch, self._newest, newest)
            self._notes.append(note)
            self._newest = newest
        except (LedgerError, PlaneError) as error:
            findings.add("log_inconsistent", str(error))
            return
        for event in chance.sample(events, min(RECEIPTS_PER_ROUND, len(events))):
            try:
                self._receipts.append(self._receipt(event["id"]))
            except (LedgerError, PlaneError) as error:
                findings.add("log_inconsistent", f"the receipt of {event['id']}: {error}")

    def verify_whole(self, findings: RoundFindings) -> None:
        """Everything that is published hashes to what was signed, all along."""
        try:
            log_verify(self.fetch, self._key, older=self._notes, receipts=self._receipts)
        except (LedgerError, PlaneError) as error:
            findings.add("log_inconsistent", str(error))

    def _receipt(self, event: str) -> tuple[Receipt, bytes]:
        answer = self._tenant.client.call("GET", f"/v1/events/{event}/receipt")
        receipt = receipt_parse(answer["proof"].encode())
        salt, canonical = (base64.b64decode(answer[name]) for name in ("salt", "canonical"))
        entry = event_commit(salt, canonical)
        receipt_verify(receipt, entry, self._key)
        return receipt, entry

    def _events_logged(self) -> list[Any]:
        """The newest events of the organization, once all of them are in the log."""
        path = f"/v1/organizations/{self._tenant.organization}/events?limit=100"
        deadline = time.monotonic() + LOGGED_S
        while True:
            events: list[Any] = self._tenant.client.call("GET", path)["items"]
            if all(event["log_index"] is not None for event in events):
                return events
            if time.monotonic() > deadline:
                raise PlaneError(f"events are without a place in the log after {LOGGED_S} s")
            time.sleep(POLL_S)
