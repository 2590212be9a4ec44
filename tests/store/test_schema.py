"""The schema refuses impossible states by itself, on both databases."""

from typing import Any

import pytest
from region_rows import T0_US, RegionRows

from kumoi.core.lifecycles import LIFECYCLES
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.model.notices import NoticeKind
from kumoi.store import schema
from kumoi.store.errors import DuplicateRow, ImpossibleState, MissingReference
from kumoi.store.ids import id_new
from kumoi.store.notices import notice_row, sending_row

S_US = 1_000_000


class Rows(RegionRows):
    """One row of every kind that has a lifecycle, by the lifecycle's name."""

    def everything(self) -> dict[str, tuple[Any, dict[str, Any]]]:
        host = self.host_add("host-1")
        job = self.job_add(JobSpec(command=("true",)))
        token = {
            "id": id_new(IdKind.TOKEN),
            "organization_id": self.organizations["one"],
            "principal_id": self.users["one"],
            "name": "t",
            "hash": bytes(32),
            "scopes": "all",
            "created_us": T0_US,
            "expires_us": T0_US + 1,
        }
        self.write(schema.tokens, token)
        task = self.task(job, 0)
        attempt = self.attempt(job, task, host)
        reservation = {
            "id": id_new(IdKind.RESERVATION),
            "organization_id": self.organizations["one"],
            "pool_id": self.pool,
            "name": "r",
            "host_count": 1,
            "start_us": T0_US,
            "end_us": T0_US + 1,
            "created_us": T0_US,
        }
        self.write(schema.reservations, reservation)
        service, revision, replica = self.service(job)
        machine = {"id": id_new(IdKind.MACHINE), "pool_id": self.pool, "name": "m", "provider": "fake"}
        self.write(
            schema.machines, machine | {"settings": "{}", "host_hour_microyen": 1, "requested_us": T0_US}
        )
        sending = self.sending()
        organization = self.organizations["two"]
        holder = {
            "id": organization,
            "token": "hsm",
            "label": "key",
            "on_withdraw": "continue",
            "from_number": 2,
        }
        self.write(schema.key_holders, holder | {"changed_us": T0_US})
        access_key, access_rule, access_request = self.access()
        return {
            "access_key": (schema.access_keys, {"id": access_key}),
            "access_rule": (schema.access_rules, {"id": access_rule}),
            "access_request": (schema.access_requests, {"id": access_request}),
            "organization_key": (schema.organization_keys, {"id": f"{organization}.1"}),
            "key_holder": (schema.key_holders, {"id": organization}),
            "organization": (schema.organizations, {"id": self.organizations["one"]}),
            "project": (schema.projects, {"id": self.projects["one"]}),
            "principal": (schema.principals, {"id": self.users["one"]}),
            "token": (schema.tokens, {"id": token["id"]}),
            "pool": (schema.pools, {"id": self.pool}),
            "host": (schema.hosts, {"id": host}),
            "machine": (schema.machines, {"id": machine["id"]}),
            "reservation": (schema.reservations, {"id": reservation["id"]}),
            "job": (schema.jobs, {"id": job}),
            "task": (schema.tasks, {"id": task}),
            "attempt": (schema.attempts, {"id": attempt}),
            "service": (schema.services, {"id": service}),
            "revision": (schema.revisions, {"id": revision}),
            "replica": (schema.replicas, {"id": replica}),
            "notice_sending": (schema.notice_sendings, {"id": sending}),
        }

    def sending(self) -> str:
        """A notice of the organization `one` on its way to a mail address of it."""
        event, organization = self.event(), self.organizations["one"]
        self.write(schema.events, event)
        notice = notice_row(NoticeKind.BREAK_GLASS, event)
        self.write(schema.notices, notice)
        target = {"id": id_new(IdKind.NOTICE_TARGET), "organization_id": organization, "channel": "mail"}
        self.write(
            schema.notice_targets,
            target | {"address": "a@example.org", "kinds": "[]", "created_us": T0_US},
        )
        row = sending_row(notice["id"], T0_US, str(target["id"]), organization)
        self.write(schema.notice_sendings, row)
        return str(row["id"])

    def access(self) -> tuple[str, str, str]:
        """A key of the organization `one`, a rule signed with it, and a request of an operator: their ids."""
        key, rule, request = (
            id_new(kind) for kind in (IdKind.ACCESS_KEY, IdKind.ACCESS_RULE, IdKind.ACCESS_REQUEST)
        )
        belongs = {"organization_id": self.organizations["one"], "created_us": T0_US}
        self.write(schema.access_keys, belongs | {"id": key, "name": "k", "public_key": bytes(32)})
        asked = belongs | {
            "resource": self.projects["one"],
            "sets": "logs",
            "duration_s": 60,
            "statement": "",
        }
        signed = {"key_id": key, "signature": bytes(64), "until_us": T0_US + 1}
        self.write(schema.access_rules, asked | signed | {"id": rule, "name": "r", "operator": "any"})
        told = {"kind": "ordinary", "resource_kind": "Project", "reason": "why", "answer_by_us": T0_US + 1}
        operator = {"id": request, "requested_by": self.users["platform"]}
        self.write(schema.access_requests, asked | told | operator)
        return key, rule, request

    def service(self, job: str, name: str = "web") -> tuple[str, str, str]:
        """A service with one revision and one replica: their ids."""
        service_id = id_new(IdKind.SERVICE)
        row = {"id": service_id, "organization_id": self.organizations["one"], "pool_id": self.pool}
        row |= {"project_id": self.projects["one"], "name": name, "spec": "{}", "target": 1}
        self.write(schema.services, row | {"created_us": T0_US, "created_by": self.users["one"]})
        made = self.revision(service_id, 1)
        replica = {"id": id_new(IdKind.REPLICA), "service_id": service_id, "revision": 1, "job_id": job}
        self.write(schema.replicas, replica | {"asked_us": T0_US})
        return service_id, made, str(replica["id"])

    def revision(self, service_id: str, number: int, **more: Any) -> str:
        row = {"id": f"{service_id}.{number}", "service_id": service_id, "number": number, "spec": "{}"}
        row |= {"organization_id": self.organizations["one"], "project_id": self.projects["one"]}
        self.write(schema.revisions, row | {"created_us": T0_US, "created_by": self.users["one"]} | more)
        return str(row["id"])

    def task(self, job: str, ordinal: int, **more: Any) -> str:
        row = {"id": id_new(IdKind.TASK), "job_id": job, "ordinal": ordinal, "pool_id": self.pool}
        row["organization_id"] = self.organizations["one"]
        self.write(schema.tasks, row | {"priority": 0, "not_before_us": T0_US} | more)
        return str(row["id"])

    def attempt(self, job: str, task: str, host: str, **more: Any) -> str:
        row = {
            "id": id_new(IdKind.ATTEMPT),
            "task_id": task,
            "job_id": job,
            "organization_id": self.organizations["one"],
            "project_id": self.projects["one"],
            "host_id": host,
            "plan_id": "plan",
            "candidates": 1,
            "engine": "fake",
            "number": 1,
            "epoch": 1,
            "cpu_milli": 1_000,
            "memory_bytes": 1 << 20,
            "placed_us": T0_US,
            "start_before_us": T0_US + S_US,
        }
        self.write(schema.attempts, row | more)
        return str(row["id"])

    def set(self, table: Any, row_id: str, **values: Any) -> None:
        self.store.transact_wait(
            None, lambda connection: connection.execute(table.update().where(table.c.id == row_id), values)
        )


@pytest.fixture
def rows(region: RegionRows) -> Rows:
    made = Rows.__new__(Rows)
    made.__dict__ = region.__dict__
    return made


def test_a_state_that_the_lifecycle_lacks_is_refused(rows: Rows) -> None:
    made = rows.everything()
    assert made.keys() == {lifecycle.name for lifecycle in LIFECYCLES}
    for lifecycle in LIFECYCLES:
        table, row = made[lifecycle.name]
        for state in ("", "unheard-of", lifecycle.initial.upper(), None):
            with pytest.raises(ImpossibleState):
                rows.set(table, row["id"], state=state)


def test_a_row_begins_in_the_state_where_its_lifecycle_begins(rows: Rows) -> None:
    for table, row in rows.everything().values():
        lifecycle = next(one for one in LIFECYCLES if f"{one.name}s" == table.name)
        found = rows.rows(table, id=row["id"])[0].state
        assert found == ("pending" if table is schema.jobs else lifecycle.initial)


IMPOSSIBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "a job that ended without a time": ("job", {"state": "succeeded"}),
    "a job with an end that has not ended": ("job", {"ended_us": T0_US}),
    "a job without tasks": ("job", {"array_size": 0}),
    "a job with too many tasks": ("job", {"array_size": 10_001}),
    "a job of an unknown class": ("job", {"work_class": "royal"}),
    "a job of an unknown loss policy": ("job", {"on_host_lost": "hope"}),
    "an attempt that ended without a time": ("attempt", {"state": "ended", "outcome": "exited"}),
    "an attempt that ended without an outcome": ("attempt", {"state": "ended", "ended_us": T0_US}),
    "an attempt with an outcome that has not ended": ("attempt", {"outcome": "exited"}),
    "an attempt of an unknown outcome": (
        "attempt",
        {"state": "ended", "ended_us": T0_US, "outcome": "vanished"},
    ),
    "an attempt that ended before it started": (
        "attempt",
        {"state": "ended", "ended_us": T0_US, "started_us": T0_US + 1, "outcome": "exited"},
    ),
    "an attempt that runs and never started": ("attempt", {"state": "running"}),
    "an attempt without CPU": ("attempt", {"cpu_milli": 0}),
    "an attempt without memory": ("attempt", {"memory_bytes": 0}),
    "a task before the first": ("task", {"ordinal": -1}),
    "a host with less than no CPU": ("host", {"cpu_milli": -1}),
    "a host of unknown health": ("host", {"health": "so-so"}),
    "a pool of unknown isolation": ("pool", {"isolation": "curtain"}),
    "a principal of an unknown kind": ("principal", {"kind": "ghost"}),
    "a project without a number": ("project", {"number": 0}),
    "a machine that takes work without a host": ("machine", {"state": "ready", "ready_us": T0_US}),
    "a machine that was given back at no time": ("machine", {"state": "released"}),
    "a machine that ended and is paid for": ("machine", {"ended_us": T0_US}),
    "a machine that costs less than nothing": ("machine", {"host_hour_microyen": -1}),
    "a reservation of no host": ("reservation", {"host_count": 0}),
    "a reservation that ends before it starts": ("reservation", {"end_us": T0_US}),
    "a service that was deleted at no time": ("service", {"state": "deleted"}),
    "a service that has a time of its deletion and lives": ("service", {"deleted_us": T0_US}),
    "a service seen before it was asked for": ("service", {"observed_generation": 2}),
    "a service of less than no replicas": ("service", {"wanted": -1}),
    "a revision before the first": ("revision", {"number": 0}),
    "a replica that ended without a time": ("replica", {"state": "ended"}),
    "a replica that is ready since never": ("replica", {"state": "ready"}),
    "a replica that drains since never": ("replica", {"state": "draining"}),
    "a replica of no revision": ("replica", {"revision": 0}),
    "ordinary access that nobody signed": (
        "access_request",
        {"approved_us": T0_US, "expires_us": T0_US + 1},
    ),
    "access without an end": ("access_request", {"approved_us": T0_US, "signature": bytes(64)}),
    "a sending that ended without a time": ("notice_sending", {"state": "delivered"}),
    "a sending with an end that has not ended": ("notice_sending", {"ended_us": T0_US}),
    "a token that expired before it was made": ("token", {"expires_us": T0_US}),
}


def test_what_cannot_be_is_refused(rows: Rows) -> None:
    made = rows.everything()
    written = []
    for what, (kind, values) in IMPOSSIBLE.items():
        table, row = made[kind]
        try:
            rows.set(table, row["id"], **values)
        except ImpossibleState:
            continue
        written.append(what)
    assert written == []


def test_two_live_attempts_of_a_task_are_refused(rows: Rows) -> None:
    host, job = rows.host_add("host-1"), rows.job_add(JobSpec(command=("true",)))
    task = rows.task(job, 0)
    first = rows.attempt(job, task, host)
    for state in ({}, {"state": "running", "started_us": T0_US}, {"state": "stopping"}):
        with pytest.raises(DuplicateRow):
            rows.attempt(job, task, host, number=2, **state)
    rows.set(schema.attempts, first, state="ended", ended_us=T0_US, outcome="exited")
    rows.attempt(job, task, host, number=2)
    with pytest.raises(DuplicateRow):
        rows.set(schema.attempts, first, state="placed", ended_us=None, outcome=None)


def test_an_attempt_number_is_used_once(rows: Rows) -> None:
    host, job = rows.host_add("host-1"), rows.job_add(JobSpec(command=("true",)))
    task = rows.task(job, 0)
    rows.attempt(job, task, host, state="ended", ended_us=T0_US, outcome="exited")
    with pytest.raises(DuplicateRow):
        rows.attempt(job, task, host)


def test_a_device_is_held_to_its_thousandths(rows: Rows) -> None:
    device = rows.device_add(rows.host_add("host-1"), 0)
    for milli in (1, 1_000, 0):
        rows.set(schema.devices, device, milli_used=milli)
    for milli in (-1, 1_001):
        with pytest.raises(ImpossibleState):
            rows.set(schema.devices, device, milli_used=milli)


def test_an_attempt_holds_a_part_of_a_device_once(rows: Rows) -> None:
    host, job = rows.host_add("host-1"), rows.job_add(JobSpec(command=("true",), array_size=2))
    device = rows.device_add(host, 0)
    one, two = (rows.attempt(job, rows.task(job, ordinal), host) for ordinal in range(2))
    rows.write(schema.attempt_devices, {"attempt_id": one, "device_id": device})
    assert [row.milli for row in rows.rows(schema.attempt_devices)] == [1_000]
    with pytest.raises(DuplicateRow):
        rows.write(schema.attempt_devices, {"attempt_id": one, "device_id": device, "milli": 1})
    for milli in (0, 1_001):
        with pytest.raises(ImpossibleState):
            rows.write(schema.attempt_devices, {"attempt_id": two, "device_id": device, "milli": milli})


def test_a_name_of_a_service_is_free_again_when_it_is_deleted(rows: Rows) -> None:
    job, other = (rows.job_add(JobSpec(command=("true",))) for _ in range(2))
    service, _, _ = rows.service(job)
    with pytest.raises(DuplicateRow):
        rows.service(other)
    rows.set(schema.services, service, state="deleted", deleted_us=T0_US)
    rows.service(other)


def test_a_job_is_one_replica(rows: Rows) -> None:
    job = rows.job_add(JobSpec(command=("true",)))
    rows.service(job)
    with pytest.raises(DuplicateRow):
        rows.service(job, "other")


def test_one_revision_serves_and_one_takes_over(rows: Rows) -> None:
    service, first, _ = rows.service(rows.job_add(JobSpec(command=("true",))))
    with pytest.raises(DuplicateRow):
        rows.revision(service, 2)
    rows.set(schema.revisions, first, state="serving")
    rows.revision(service, 2)
    with pytest.raises(DuplicateRow):
        rows.revision(service, 3, state="serving")


def test_an_interval_has_a_length(rows: Rows) -> None:
    row = {
        "attempt_id": "att",
        "start_us": T0_US,
        "end_us": T0_US,
        "organization_id": rows.organizations["one"],
        "project_id": rows.projects["one"],
        "cpu_milli": 1,
        "memory_bytes": 1,
        "device_milli": 0,
        "cpu_us": 0,
    }
    for length_us in (0, -1):
        with pytest.raises(ImpossibleState):
            rows.write(schema.usage_intervals, row | {"end_us": T0_US + length_us})
    rows.write(schema.usage_intervals, row | {"end_us": T0_US + 1})
    with pytest.raises(DuplicateRow):
        rows.write(schema.usage_intervals, row | {"end_us": T0_US + 2})


def test_a_job_does_not_wait_for_itself(rows: Rows) -> None:
    job = rows.job_add(JobSpec(command=("true",)))
    with pytest.raises(ImpossibleState):
        rows.write(schema.job_dependencies, {"job_id": job, "depends_on_id": job, "condition": "ended"})


def test_an_operator_is_one_of_the_platform(rows: Rows) -> None:
    row = {
        "id": id_new(IdKind.ROLE_BINDING),
        "organization_id": rows.organizations["one"],
        "principal_id": rows.users["one"],
        "role": "platform_operator",
        "scope_kind": "organization",
        "scope_id": rows.organizations["one"],
        "created_us": T0_US,
    }
    with pytest.raises(ImpossibleState):
        rows.write(schema.role_bindings, row)


def test_there_is_one_region(rows: Rows) -> None:
    row = {"name": "r", "cell": 0, "incarnation": "i", "created_us": T0_US}
    rows.write(schema.region, row | {"one": 1})
    with pytest.raises(DuplicateRow):
        rows.write(schema.region, row | {"one": 1})
    with pytest.raises(ImpossibleState):
        rows.write(schema.region, row | {"one": 2})


def test_an_event_has_its_place_in_the_log_alone(rows: Rows) -> None:
    rows.write(schema.events, rows.event() | {"log_index": 7})
    with pytest.raises(DuplicateRow):
        rows.write(schema.events, rows.event() | {"log_index": 7})


def test_a_row_that_refers_to_nothing_is_refused(rows: Rows) -> None:
    for missing in ({"project_id": "prj_none"}, {"pool_id": "pool_none"}, {"created_by": "usr_none"}):
        with pytest.raises(MissingReference):
            rows.job_add(JobSpec(command=("true",)), **missing)


def test_what_a_row_refers_to_is_not_deleted(rows: Rows) -> None:
    rows.job_add(JobSpec(command=("true",)))
    for table in (schema.projects, schema.pools, schema.organizations, schema.principals, schema.sites):
        with pytest.raises(MissingReference):
            rows.store.transact_wait(None, lambda connection, t=table: connection.execute(t.delete()))


def test_text_that_no_database_keeps_is_refused(rows: Rows) -> None:
    if rows.store.is_sqlite:
        pytest.skip("SQLite keeps NUL in text; requests that carry it are refused before")
    with pytest.raises(ImpossibleState):
        rows.job_add(JobSpec(command=("true",)), name="a\x00b")
