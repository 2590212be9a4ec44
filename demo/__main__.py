"""Run the demo. Ends by itself with a summary; exit status 0 only if everything held."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import proof, services, trust
from demo.region import Region
from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError, InvalidError, NotFoundError
from kumoi.main.replay import record_replay
from kumoi.model.jobs import Dependency, Job, JobSpec, Resources

TASKS = 40
KILL_AFTER = 12
WAIT_S = 120.0
PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALLED_FROM = 128

console = Console()


class Interrupted(BaseException):
    """Somebody wants the demo to end, by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Demo:
    """The steps, each timed."""

    def __init__(self, place: Path) -> None:
        self.region = Region(place)
        self.rows: list[tuple[str, str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list is told in the summary."""
        found: list[str] = []
        began_s = time.perf_counter()
        console.print(f"[bold]{title}[/bold]")
        yield found
        took_s = time.perf_counter() - began_s
        for line in found:
            console.print(f"  {line}", highlight=False, markup=False)
        self.rows.append((title, "; ".join(found), took_s))

    def run(self) -> None:
        """All of it, in order."""
        with self.step("start a region") as found:
            found.append(f"ready after {self.region.start():.2f} s")
            if self.region.plain_why:
                found.append(f"its files and logs are not encrypted here: {self.region.plain_why}")
            found.append("a witness, a program of its own, cosigns its log")
        operator = Kumoi(self.region.url, self.region.operator_token())
        with self.step("create two organizations and a project") as found:
            token = _token(operator, "acme")
            acme = Kumoi(self.region.url, token)
            other = Kumoi(self.region.url, _token(operator, "umbrella"))
            project = acme.projects.create("acme", "index")
            for program in ("shard.py", "merge.py"):
                acme.files.put(project.id, program, HERE / program)
            found.append(f"project {project.id}")
        with self.step(f"submit {TASKS} tasks and a job that merges them") as found:
            shards, merge = _submit(acme, project.id)
            found.append(f"{shards} then {merge}")
        with self.step("kill -9 the plane in the middle, start it again") as found:
            ended = _follow(acme, shards, KILL_AFTER)
            self.region.kill()
            found.append(
                f"killed after {ended} of {TASKS} tasks, answering again after {self.region.start():.2f} s"
            )
        with self.step("every task ends exactly once") as found:
            found.append(_finish(acme, project.id, shards, merge))
        with self.step("ask why the merge ran where it did, and decide that again offline") as found:
            found += _replay(acme, operator, merge)
        with self.step("ask for what no host could ever run") as found:
            found.append(_impossible(acme, project.id))
        with self.step("another organization tries to read the job") as found:
            found.append(_refused(other, shards))
        with self.step("deploy a service that searches the index") as found:
            service = services.deploy(acme, project.id, HERE / "search.py")
            found.append(f"{service.id} is ready at {service.url_path}")
        with self.step("send it a bursty minute of requests; replicas follow") as found:
            found += services.follow(acme, service, self.region.data_dir, console)
        with self.step("leave it alone until it sleeps, then wake it") as found:
            found.append(services.sleep(acme, service))
            found.append(services.wake(service, self.region.data_dir))
            found.append(acme.services.why(service.id).explanation)
            found.append(services.delete(acme, service))
        with self.step("usage") as found:
            used = acme.usage.organization("acme")
            found.append(f"{used.attempts} attempts, {used.wall_s:.1f} s wall, {used.cpu_s:.1f} s CPU")
        with self.step("verify the log offline, receipts included") as found:
            found += _prove(acme, self.region.data_dir / "log-copy")
        self._trust(operator, acme, token, project.id, merge)

    def _trust(self, operator: Kumoi, acme: Kumoi, token: str, project: str, job: str) -> None:
        """An operator wants to look at what is the tenant's; then it wants to change the history."""
        place, witness = self.region.data_dir, self.region.witness
        with self.step("an operator tries to read what the job wrote") as found:
            found.append(trust.refused(operator, job))
        with self.step("it asks, the tenant approves with its own key, it reads") as found:
            approver = trust.Approver(place / "security-office")
            request, told = trust.approved(operator, acme, project, job, approver)
            found.append(told)
        with self.step("the tenant revokes in the middle of a download") as found:
            found.append(trust.revoked(operator, acme, project, request, approver.place))
        with self.step("the tenant verifies the whole story offline") as found:
            found += trust.proven(acme, self.region.url, token, witness, approver)
        with self.step("the operator rewrites the history and signs it again") as found:
            found += trust.rewritten(place / "log-copy", place, witness, acme.log.vkey().strip())

    def summary(self) -> None:
        """The table at the end."""
        table = Table(title="Kumoi demo")
        table.add_column("step")
        table.add_column("found", overflow="fold")
        table.add_column("seconds", justify="right")
        for title, found, took_s in self.rows:
            table.add_row(title, found, f"{took_s:.2f}")
        table.add_row("total", "", f"{sum(row[2] for row in self.rows):.2f}", style="bold")
        console.print(table)


def _token(operator: Kumoi, organization: str) -> str:
    token = operator.organizations.create(organization).admin_token
    if token is None:
        raise SystemExit(f"the organization {organization} exists already; the demo wants an empty region")
    return token


def _submit(acme: Kumoi, project: str) -> tuple[str, str]:
    """The array job, and the job that runs when all of it has succeeded."""
    resources = Resources(cpu_milli=500, memory_bytes=512 << 20, wall_time_s=120)
    array = JobSpec(command=(PYTHON, "shard.py"), name="shards", array_size=TASKS, resources=resources)
    last = JobSpec(
        command=(PYTHON, "merge.py"), name="merge", resources=resources, depends_on=(Dependency("shards"),)
    )
    refs = acme.jobs.create_batch(project, (array, last)).items
    return refs[0].id, refs[1].id


def _follow(client: Kumoi, job: str, until: int) -> int:
    """Show progress until `until` tasks have ended; returns how many had."""
    columns = (TextColumn("  tasks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task("tasks", total=TASKS)
        for state in client.jobs.watch(job, timeout_s=WAIT_S):
            ended = _ended(state)
            progress.update(bar, completed=ended)
            if ended >= until:
                return ended
    return TASKS


def _ended(job: Job) -> int:
    return job.tasks.succeeded + job.tasks.failed + job.tasks.cancelled


def _finish(acme: Kumoi, project: str, shards: str, merge: str) -> str:
    """Wait for both jobs and count how often each task ran."""
    _follow(acme, shards, TASKS)
    merged = acme.jobs.wait(merge, timeout_s=WAIT_S)
    if merged.state != "succeeded":
        raise SystemExit(f"the job {merge} {merged.state}: {merged.reason}; see {acme.jobs.why(merge)}")
    runs = sorted(int(line) for line in acme.files.get(project, "runs.txt").split())
    if runs != list(range(TASKS)):
        raise SystemExit(f"{TASKS} tasks should have run once each; these ran: {runs}")
    parts = [part.data for part in acme.jobs.logs(merge)]
    return f"{TASKS} tasks ran once each; merged: {b''.join(parts).decode().strip()}"


def _replay(acme: Kumoi, operator: Kumoi, job: str) -> list[str]:
    """The job's placement as its owner sees it, recomputed from the record that the operator may fetch."""
    placement = acme.jobs.why(job).placements[0]
    replayed = record_replay(operator.plans.get(placement.plan))
    if not replayed.same:
        raise SystemExit(f"the plan {placement.plan} is not what its inputs lead to: {replayed.differences}")
    return [
        f"on {placement.host_name} by {placement.policy}, one of {placement.candidates} hosts that would do",
        f"decided again from inputs {replayed.snapshot_digest[:12]}: the same plan",
    ]


def _impossible(acme: Kumoi, project: str) -> str:
    wanted = Resources(cpu_milli=1_000_000)
    try:
        acme.jobs.create(project, JobSpec(command=("true",), resources=wanted))
    except InvalidError as error:
        return f"refused with {error}"
    raise SystemExit("a job that no host could ever run was accepted")


def _refused(other: Kumoi, job: str) -> str:
    try:
        other.jobs.get(job)
    except NotFoundError as error:
        return f"refused with {error.status}: for umbrella the job does not exist"
    raise SystemExit("another organization could read the job")


def _prove(acme: Kumoi, place: Path) -> list[str]:
    vkey = acme.log.vkey().strip()
    events = [event.id for event in acme.events.organization("acme", limit=proof.RECEIPTS)]
    receipts = proof.receipts_fetch(acme, events)
    proof.log_copy(acme, place, vkey)
    report = proof.log_verify_offline(place, vkey, receipts)
    caught = proof.tampering_caught(place, vkey)
    return [
        f"{report.checkpoint.size} entries and {len(receipts)} receipts verified",
        f"tampered copy caught: {caught}",
    ]


def _signals_take() -> None:
    """The first signal ends the demo; a terminal, `timeout` and make may each send one."""
    taken: list[int] = []

    def take(number: int, _frame: FrameType | None) -> None:
        if not taken:
            taken.append(number)
            raise Interrupted(number)

    for number in SIGNALS:
        signal.signal(number, take)


def _signals_ignore() -> None:
    """What was begun is tidied up whatever comes. A function, since processes would inherit SIG_IGN."""
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: None)


def _tidy(region: Region, *, keep_log: bool) -> str:
    """End the region and remove its directory; what is left of it, in words."""
    if not region.end():
        return f"something of it does not end; see {region.data_dir}"
    told = "nothing of it is left"
    log = region.data_dir / "plane.log"
    if keep_log and log.exists():
        told = f"the plane's log is in {shutil.move(log, f'{region.data_dir}.log')}"
    shutil.rmtree(region.data_dir)
    return told


def main() -> int:
    """Run in a directory of its own, and clean up, also when interrupted."""
    if shutil.which("bwrap") is None:
        console.print("bubblewrap is missing, so nothing can be run: as root, apt-get install bubblewrap")
        return 1
    demo = Demo(Path(tempfile.mkdtemp(prefix="kumoi-demo-")))
    problem, status, told = "the demo failed", 1, ""
    _signals_take()
    try:
        demo.run()
        status = 0
    except Interrupted as interrupted:
        problem, status = "the demo was interrupted", SIGNALLED_FROM + interrupted.number
    except (ClientError, SystemExit) as error:
        problem = f"the demo failed: {error}"
    finally:
        _signals_ignore()
        told = _tidy(demo.region, keep_log=status == 1)
        if status:
            console.print(f"{problem}; {told}", highlight=False, markup=False, soft_wrap=True)
    if status == 0:
        demo.summary()
    return status


if __name__ == "__main__":
    sys.exit(main())
