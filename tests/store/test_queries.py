"""What loops and lists ask often reads rows through an index, however many there are."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from plan_rows import pool_look, read_decide, waiting_of
from postgres_server import place_quick
from region_rows import T0_US, RegionRows
from sqlalchemy import Connection, event

from kumoi.model.ids import IdKind
from kumoi.model.jobs import AttemptOutcome, JobSpec
from kumoi.model.services import RevisionSpec, ServiceSpec
from kumoi.store import (
    attempts,
    hosts,
    jobs,
    notices,
    orphans,
    placement,
    placement_read,
    plans,
    retention,
    schema,
    services,
    tasks,
)
from kumoi.store.attempts import AttemptEnd
from kumoi.store.database import Store
from kumoi.store.events import event_list, event_list_logged
from kumoi.store.ids import id_new, ids_new
from kumoi.store.log import event_waiting_since, log_append
from kumoi.store.writer import insert_many

JOBS = 100_000
RECENT = 3_000
"""Of so many of the jobs there are rows beside their own."""
ENDED_ATTEMPTS = 1_000
LIVE_ATTEMPTS = 50
PLANS = 1_000
PLANS_OF_BASE = 100
HOUR_US = 3_600_000_000
LARGE = {
    *("jobs", "job_dependencies", "tasks", "attempts", "attempt_devices", "events", "usage_intervals"),
    *("idempotency_keys", "plans", "tombstones", "log_tiles", "log_bundles"),
    *("services", "revisions", "replicas", "scalings", "service_routes"),
    *("notices", "notice_sendings"),
}
SERVICE = ServiceSpec(RevisionSpec(8_080, ("serve",)), "web")
PARTIAL = re.compile(
    r"USING (COVERING )?INDEX (ix_tasks_queue|ix_jobs_(pending|waiting|ended)|ix_attempts_(live|log|due)"
    r"|ix_attempts_engine|ix_tombstones_kept|ix_notices_unexpanded|ix_notice_sendings_due|ix_events_unlogged|uq_attempts_live_task|ix_attempt_devices_held)"
)


class Filled:
    """A store in which much has happened and little goes on."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(f"sqlite:///{directory / 'kumoi.db'}")
        self.region = RegionRows(self.store)
        self.host = self.region.host_add("host-1", cpu_milli=1_000_000)
        self.job_ids = ids_new(IdKind.JOB, JOBS)
        self.task_ids = ids_new(IdKind.TASK, RECENT - 1_000)
        self.attempt_ids = ids_new(IdKind.ATTEMPT, ENDED_ATTEMPTS + LIVE_ATTEMPTS)
        self.plan_ids = ids_new(IdKind.PLAN, PLANS)
        self.service = id_new(IdKind.SERVICE)
        self.store.transact_wait(None, self._fill)

    def _fill(self, connection: Connection) -> None:
        template = self.region.job_row(JobSpec(command=("true",)))
        insert_many(connection, schema.jobs, [template | self._job(n) for n in range(JOBS)])
        insert_many(connection, schema.tasks, [self._task(n) for n in range(RECENT - 1_000)])
        insert_many(
            connection, schema.attempts, [self._attempt(n) for n in range(ENDED_ATTEMPTS + LIVE_ATTEMPTS)]
        )
        insert_many(connection, schema.plans, [self._plan(n) for n in range(PLANS)])
        insert_many(connection, schema.services, [self._service()])
        row = self.region.event()
        event_ids = ids_new(IdKind.EVENT, RECENT)
        insert_many(
            connection,
            schema.events,
            [
                row | {"id": event_ids[n], "log_index": 10**6 + n if n < RECENT - 20 else None}
                for n in range(RECENT)
            ],
        )

    def _job(self, n: int) -> dict[str, Any]:
        """Nearly all ended; at the end some that run, wait for their turn, or for another."""
        state, ended_us = "succeeded", T0_US + n
        for first, other in ((JOBS - 1_500, "running"), (JOBS - 1_000, "pending"), (JOBS - 500, "waiting")):
            if n >= first:
                state, ended_us = other, None
        return {"id": self.job_ids[n], "state": state, "ended_us": ended_us}

    def _service(self) -> dict[str, Any]:
        return {
            "id": self.service,
            "organization_id": self.region.organizations["one"],
            "project_id": self.region.projects["one"],
            "pool_id": self.region.pool,
            "name": "web",
            "spec": services.spec_text(SERVICE),
            "created_us": T0_US,
            "created_by": self.region.users["one"],
        }

    def _task(self, n: int) -> dict[str, Any]:
        state = "succeeded" if n < RECENT - 1_500 else "queued"
        return {
            "id": self.task_ids[n],
            "job_id": self.job_ids[JOBS - RECENT + n],
            "ordinal": 0,
            "organization_id": self.region.organizations["one"],
            "pool_id": self.region.pool,
            "priority": 0,
            "state": state,
            "not_before_us": T0_US,
        }

    def _plan(self, n: int) -> dict[str, Any]:
        return {
            "id": self.plan_ids[n],
            "pool_id": self.region.pool,
            "decided_us": T0_US + n,
            "policy": "best_fit",
            "seed": 1,
            "snapshot_digest": "",
            "body": "{}",
            "base_id": self.plan_ids[n // PLANS_OF_BASE * PLANS_OF_BASE],
            "previous_id": None,
            "inputs": b"",
        }

    def _attempt(self, n: int) -> dict[str, Any]:
        live = n >= ENDED_ATTEMPTS
        return {
            "id": self.attempt_ids[n],
            "task_id": self.task_ids[n],
            "job_id": self.job_ids[JOBS - RECENT + n],
            "organization_id": self.region.organizations["one"],
            "project_id": self.region.projects["one"],
            "host_id": self.host,
            "plan_id": "plan",
            "candidates": 1,
            "engine": "fake",
            "number": 1,
            "state": ("placed", "running", "stopping")[n % 3] if live else "ended",
            "epoch": 1,
            "cpu_milli": 1_000,
            "memory_bytes": 1 << 20,
            "placed_us": T0_US,
            "start_before_us": T0_US + 1,
            "lease_us": T0_US + HOUR_US,
            "started_us": T0_US,
            "ended_us": None if live else T0_US + n,
            "outcome": None if live else "exited",
        }


@pytest.fixture(scope="module")
def filled() -> Iterator[Filled]:
    with tempfile.TemporaryDirectory(prefix="kumoi-sqlite-", dir=place_quick()) as directory:
        made = Filled(Path(directory))
        yield made
        made.store.close()


@contextmanager
def statements(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield seen
    event.remove(connection, "before_cursor_execute", note)


def end_of(attempt_id: str) -> AttemptEnd:
    return AttemptEnd(attempt_id, AttemptOutcome.EXITED, 0, None, T0_US, T0_US + 1, 0, 0, "")


def plan_apply(connection: Connection, filled: Filled) -> None:
    read = pool_look(connection, filled.region.pool, window=256)
    decided = read_decide(read, waiting_of(read)[:256])
    assert placement.plan_apply(connection, decided, [1, 2], epoch=1, now_us=T0_US, cell=0).placed > 0


QUERIES: dict[str, Any] = {
    "job_list": lambda c, f: jobs.job_list(c, f.region.projects["one"], None, None, 100, f.job_ids[-10]),
    "job_list by state": lambda c, f: jobs.job_list(
        c, f.region.projects["one"], "succeeded", None, 100, None
    ),
    "job_get": lambda c, f: jobs.job_get(c, f.job_ids[-RECENT]),
    "task_counts": lambda c, f: jobs.task_counts(c, f.job_ids[-RECENT]),
    "dependencies_unmet": lambda c, f: jobs.dependencies_unmet(c, f.job_ids[-1]),
    "jobs_releasable": lambda c, f: jobs.jobs_releasable(c, 100),
    "jobs_expandable": lambda c, f: jobs.jobs_expandable(c, 2_000),
    "jobs_release": lambda c, f: jobs.jobs_release(c, f.job_ids[:10], T0_US),
    "jobs_expand": lambda c, f: jobs.jobs_expand(c, T0_US, 0, 2_000, 200),
    "job_cancel": lambda c, f: jobs.job_cancel(c, f.job_ids[-1_200], T0_US, "why"),
    "jobs_settle": lambda c, f: jobs.jobs_settle(c, f.job_ids[-1_300:-1_290], T0_US),
    "task_list": lambda c, f: tasks.task_list(c, f.job_ids[-RECENT], 100, -1),
    "attempt_find": lambda c, f: tasks.attempt_find(c, f.job_ids[-RECENT], 0, None),
    "placements_of": lambda c, f: tasks.placements_of(c, f.job_ids[-RECENT]),
    "pools_waiting": lambda c, f: placement_read.pools_waiting(c, T0_US),
    "pool_read": lambda c, f: pool_look(c, f.region.pool, window=256),
    "queues_read_wide": lambda c, f: placement_read.queues_read_wide(
        c, f.region.pool, {f.region.organizations["one"]: ""}, T0_US
    ),
    "hosts_named": lambda c, f: placement_read.hosts_named(c, [f.host]),
    "touches_read": lambda c, f: placement_read.touches_read(c),
    "task_waiting_first": lambda c, f: placement_read.task_waiting_first(c, f.job_ids[-1_010]),
    "plan_apply": plan_apply,
    "plan_record": lambda c, f: plans.plan_record(c, f.plan_ids[-1]),
    "attempts_to_start": lambda c, f: attempts.attempts_to_start(c, "fake", 64),
    "attempts_to_stop": lambda c, f: attempts.attempts_to_stop(c, "fake", 64),
    "attempts_live": lambda c, f: attempts.attempts_live(c, "fake"),
    "attempts_leased": lambda c, f: attempts.attempts_leased(c, "fake"),
    "attempt_states": lambda c, f: attempts.attempt_states(c, f.attempt_ids[:10]),
    "device_paths": lambda c, f: attempts.device_paths(c, f.attempt_ids[:10]),
    "attempts_started": lambda c, f: attempts.attempts_started(
        c, dict.fromkeys([f.attempt_ids[-1], f.attempt_ids[-2], f.attempt_ids[-3]], T0_US)
    ),
    "leases_move": lambda c, f: attempts.leases_move(c, f.attempt_ids[-10:], T0_US),
    "attempts_end": lambda c, f: attempts.attempts_end(c, [end_of(f.attempt_ids[0])], T0_US),
    "attempts_meter": lambda c, f: attempts.attempts_meter(c, "fake", T0_US + HOUR_US, 100),
    "refs_claim": lambda c, f: orphans.refs_claim(c, f.attempt_ids[:100], "i"),
    "hosts_settle": lambda c, f: hosts.hosts_settle(c, "fake", f.region.platform, T0_US),
    "idempotency_keys_drop": lambda c, f: retention.idempotency_keys_drop(c, T0_US, 500),
    "plans_drop": lambda c, f: retention.plans_drop(c, T0_US + PLANS // 2, 500),
    "jobs_drop": lambda c, f: retention.jobs_drop(c, T0_US + 10, "i", 500),
    "remains_to_purge": lambda c, f: retention.remains_to_purge(c, "fake", T0_US + 10, ["org"], 500),
    "purged_record": lambda c, f: retention.purged_record(
        c,
        [
            *(retention.Remains(ref, "org", False) for ref in f.attempt_ids[:10]),
            retention.Remains("a", "org", True),
        ],
    ),
    "service_list": lambda c, f: services.service_list(c, f.region.projects["one"], None, 100, f.service),
    "service_count": lambda c, f: services.service_count(c, f.region.projects["one"]),
    "service_show": lambda c, f: services.service_show(c, services.service_get(c, f.service)),
    "revision_list": lambda c, f: services.revision_list(c, f.service, 100, 7),
    "replica_list": lambda c, f: services.replica_list(c, f.service, 100, f.service),
    "scaling_list": lambda c, f: services.scaling_list(c, f.service, 100),
    "routes_claim": lambda c, f: services.routes_claim(c, f.service, f.region.projects["one"], SERVICE),
    "event_list": lambda c, f: event_list(c, f.region.organizations["one"], 100, None),
    "event_list_logged": lambda c, f: event_list_logged(c, f.region.organizations["one"], 5, 100),
    "event_waiting_since": lambda c, f: event_waiting_since(c),
    "notice_expand": lambda c, f: notices.notice_expand(c, T0_US),
    "sendings_due": lambda c, f: notices.sendings_due(c, T0_US, 1_000),
    "sendings_get": lambda c, f: notices.sendings_get(c, f.job_ids[:32]),
    "sendings_record": lambda c, f: notices.sendings_record(
        c, [notices.SendingEnd(one, T0_US, is_delivered=True) for one in f.job_ids[:10]]
    ),
    "sending_list": lambda c, f: notices.sending_list(c, f.region.organizations["one"], 100, None),
    "notices_drop": lambda c, f: notices.notices_drop(c, T0_US, 500),
    "log_append": lambda c, f: log_append(
        c,
        "o",
        padding=lambda count: [bytes(32)] * count,
        sign=lambda size, root: "signed",
        now_us=T0_US,
    ),
}
SORTED_BY_INDEX = (
    "job_list",
    "job_list by state",
    "jobs_expand",
    "service_list",
    "revision_list",
    "replica_list",
    "scaling_list",
    "event_list",
    "event_list_logged",
    "sending_list",
)


def plans_of(filled: Filled, name: str) -> list[tuple[str, str]]:
    """The statements of a query and how SQLite runs each. What the query writes is rolled back."""
    found: list[tuple[str, str]] = []

    class Undo(Exception):
        pass

    def work(connection: Connection) -> None:
        with statements(connection) as seen:
            QUERIES[name](connection, filled)
        for statement, parameters in seen:
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
                lines = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found.extend((line[3], statement) for line in lines)
        raise Undo

    with pytest.raises(Undo):
        filled.store.transact_wait(None, work)
    assert found or name == "nothing"
    return found


def is_scan(line: str) -> bool:
    """Whether a line of a plan reads a large table from one end to the other. `(id>?)` alone does."""
    whole = line.startswith("SCAN ") or re.search(r"USING .*INDEX \S+ \(\w+[<>]\?\)$", line) is not None
    bounded = PARTIAL.search(line) or re.search(r"\((ended_us|created_us|decided_us)<\?\)", line)
    return whole and line.split()[1] in LARGE and not bounded


@pytest.mark.parametrize("name", QUERIES)
def test_it_reads_through_an_index(filled: Filled, name: str) -> None:
    scans = [f"{line}\n    {statement}" for line, statement in plans_of(filled, name) if is_scan(line)]
    assert scans == [], "\n".join(scans)


@pytest.mark.parametrize("name", SORTED_BY_INDEX)
def test_it_is_sorted_by_its_index(filled: Filled, name: str) -> None:
    assert [line for line, _ in plans_of(filled, name) if "TEMP B-TREE" in line] == []
