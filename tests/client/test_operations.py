"""Every operation, through both clients, over real sockets: one table."""

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_rows as rows
import msgspec
import pytest
from msgspec.structs import replace

from kumoi.client import AsyncKumoi, Kumoi
from kumoi.client.errors import PreconditionFailedError, WaitTimeout
from kumoi.client.flows import Answer, Request
from kumoi.client.groups import Group, Operation, Streaming
from kumoi.client.jobs import job_logs
from kumoi.model.access import AccessSet, PrincipalKind, Role, TokenCreate
from kumoi.model.access_requests import (
    AccessApprove,
    AccessKeyCreate,
    AccessRequestCreate,
    AccessRuleCreate,
)
from kumoi.model.capacity import CapacityPlanCreate, DeviceModelWrite
from kumoi.model.ids import IdKind
from kumoi.model.jobs import Attempt, JobRef, JobSpec, Task
from kumoi.model.notices import NoticeChannel, NoticeKind
from kumoi.model.places import PoolCreate, SiteCreate
from kumoi.model.records import Page
from kumoi.model.services import RevisionSpec, ServiceSpec
from kumoi.model.shares import QuotaResource, RateWrite, ReservationCreate

EVENT = rows.id_make(IdKind.EVENT, 2)
JOB = rows.id_make(IdKind.JOB, 100)
CPU = QuotaResource.CPU_MILLI
SPEC = JobSpec(("echo", "hello"), name="greet")
WEB = rows.id_make(IdKind.SERVICE, 1)
SERVICE = ServiceSpec(RevisionSpec(8_080, ("serve",)), "web")
Call = Callable[[Any], Any]
Check = Callable[[Any], object]


def run_sync(url: str, call: Call) -> Any:
    with Kumoi(url, rows.TOKEN) as client:
        made = call(client)
        return list(made) if hasattr(made, "__next__") else made


def run_async(url: str, call: Call) -> Any:
    async def inside() -> Any:
        async with AsyncKumoi(url, rows.TOKEN) as client:
            made = call(client)
            return [item async for item in made] if hasattr(made, "__anext__") else await made

    return asyncio.run(inside())


run_each = pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])

TABLE: list[tuple[str, Call, Check]] = [
    ("whoami", lambda c: c.whoami(), lambda r: r == rows.WHOAMI),
    ("health", lambda c: c.health(), lambda r: r.region == "fake"),
    ("organizations.list", lambda c: c.organizations.list(), lambda r: [o.name for o in r] == ["acme"]),
    (
        "organizations.create",
        lambda c: c.organizations.create("beta"),
        lambda r: r.organization.name == "beta" and r.admin_token == rows.TOKEN,
    ),
    ("organizations.get", lambda c: c.organizations.get("acme"), lambda r: r.id == rows.ORG),
    ("organizations.suspend", lambda c: c.organizations.suspend("acme"), lambda r: r.state == "suspended"),
    ("principals.list", lambda c: c.principals.list("acme"), lambda r: r == [rows.PRINCIPAL]),
    (
        "principals.create",
        lambda c: c.principals.create("acme", "ci", PrincipalKind.SERVICE_ACCOUNT),
        lambda r: (r.name, r.kind) == ("ci", "service_account"),
    ),
    ("principals.disable", lambda c: c.principals.disable(rows.USER), lambda r: r.id == rows.USER),
    ("principals.enable", lambda c: c.principals.enable(rows.USER), lambda r: r.id == rows.USER),
    ("role_bindings.list", lambda c: c.role_bindings.list("acme"), lambda r: r == [rows.ROLE_BINDING]),
    (
        "role_bindings.create",
        lambda c: c.role_bindings.create("acme", rows.USER, Role.MEMBER),
        lambda r: r == rows.ROLE_BINDING,
    ),
    ("role_bindings.delete", lambda c: c.role_bindings.delete(rows.BINDING), lambda r: r is None),
    ("projects.list", lambda c: c.projects.list("acme"), lambda r: r == [rows.PROJECT_ROW]),
    (
        "projects.create",
        lambda c: c.projects.create("acme", "weather", data_class="public"),
        lambda r: (r.name, r.data_class, r.jurisdiction) == ("weather", "public", "JP"),
    ),
    ("projects.get", lambda c: c.projects.get(rows.PROJECT), lambda r: r == rows.PROJECT_ROW),
    ("projects.archive", lambda c: c.projects.archive(rows.PROJECT), lambda r: r.id == rows.PROJECT),
    ("projects.restore", lambda c: c.projects.restore(rows.PROJECT), lambda r: r.id == rows.PROJECT),
    ("tokens.list", lambda c: c.tokens.list(), lambda r: r == [rows.TOKEN_ROW]),
    ("tokens.create", lambda c: c.tokens.create(TokenCreate("ci")), lambda r: r.secret == rows.TOKEN),
    ("tokens.revoke", lambda c: c.tokens.revoke(rows.TOKEN_ID), lambda r: r.id == rows.TOKEN_ID),
    ("sites.list", lambda c: c.sites.list(), lambda r: r == [rows.SITE_ROW]),
    ("sites.create", lambda c: c.sites.create(SiteCreate("osaka", "JP")), lambda r: r.name == "osaka"),
    ("pools.list", lambda c: c.pools.list(), lambda r: r[0].name == "default"),
    ("pools.create", lambda c: c.pools.create(PoolCreate("gpu", rows.SITE)), lambda r: r.name == "gpu"),
    ("pools.pause", lambda c: c.pools.pause("default"), lambda r: r.state == "paused"),
    ("pools.resume", lambda c: c.pools.resume("default"), lambda r: r.state == "open"),
    ("hosts.list", lambda c: c.hosts.list(), lambda r: r[0].devices[0].kind == "gpu"),
    ("hosts.get", lambda c: c.hosts.get("local"), lambda r: r.id == rows.HOST),
    ("hosts.drain", lambda c: c.hosts.drain("local"), lambda r: r.state == "draining"),
    ("hosts.resume", lambda c: c.hosts.resume("local"), lambda r: r.state == "schedulable"),
    ("hosts.dedicate", lambda c: c.hosts.dedicate("local", "acme"), lambda r: r.dedicated_to == rows.ORG),
    ("hosts.declare_lost", lambda c: c.hosts.declare_lost("local"), lambda r: r.state == "quarantined"),
    ("capacity.get", lambda c: c.capacity.get(since="2026-01-01"), lambda r: r == rows.capacity()),
    ("capacity_plans.list", lambda c: c.capacity_plans.list(), lambda r: r == [rows.PLAN_ROW]),
    (
        "capacity_plans.create",
        lambda c: c.capacity_plans.create(CapacityPlanCreate(rows.SITE, "H200", 768, "2025-09-30")),
        lambda r: r.count == 768,
    ),
    ("capacity_plans.delete", lambda c: c.capacity_plans.delete(rows.PLAN), lambda r: r is None),
    ("device_models.list", lambda c: c.device_models.list(), lambda r: r == [rows.MODEL_ROW]),
    (
        "device_models.write",
        lambda c: c.device_models.write("H200 NVL", DeviceModelWrite("NVIDIA", 835_500, 0, "sheet")),
        lambda r: (r.name, r.attested) == ("H200 NVL", False),
    ),
    ("plans.list", lambda c: c.plans.list(), lambda r: r == [rows.DECISION_ROW]),
    (
        "scalings.get",
        lambda c: c.scalings.get(rows.SCALING_RECORD.id),
        lambda r: r == rows.SCALING_RECORD,
    ),
    ("plans.get", lambda c: c.plans.get(rows.DECISION), lambda r: r == rows.DECISION_RECORD),
    (
        "jobs.create",
        lambda c: c.jobs.create(rows.PROJECT, SPEC),
        lambda r: r == JobRef(JOB, "greet", "pending"),
    ),
    (
        "jobs.create_batch",
        lambda c: c.jobs.create_batch(rows.PROJECT, [SPEC, SPEC]),
        lambda r: len({ref.id for ref in r.items}) == 2,
    ),
    ("jobs.list", lambda c: c.jobs.list(rows.PROJECT), lambda r: r[0].name == "train"),
    ("jobs.get", lambda c: c.jobs.get(JOB), lambda r: r.spec == JobSpec(("train",), name="train")),
    ("jobs.cancel", lambda c: c.jobs.cancel(JOB), lambda r: r.state == "cancelled"),
    ("jobs.why", lambda c: c.jobs.why(JOB), lambda r: r.refusals[0].hosts == 1),
    ("jobs.tasks", lambda c: c.jobs.tasks(JOB), lambda r: r[0].attempts[0].number == 1),
    ("jobs.watch", lambda c: c.jobs.watch(JOB), lambda r: [j.state for j in r] == ["pending", "succeeded"]),
    ("jobs.wait", lambda c: c.jobs.wait(JOB), lambda r: r.state == "succeeded"),
    (
        "jobs.logs",
        lambda c: c.jobs.logs(JOB, follow=True),
        lambda r: (joined(r, "stdout"), joined(r, "stderr")) == (b"hello\n", b"careful\n"),
    ),
    (
        "services.create",
        lambda c: c.services.create(rows.PROJECT, SERVICE),
        lambda r: (r.name, r.rollout) == ("web", "rolling"),
    ),
    ("services.list", lambda c: c.services.list(rows.PROJECT), lambda r: [s.name for s in r] == ["web"]),
    ("services.get", lambda c: c.services.get(WEB), lambda r: r.spec == SERVICE),
    (
        "services.put",
        lambda c: c.services.put(WEB, replace(SERVICE, priority=1), 1),
        lambda r: (r.spec.priority, r.version) == (1, 2),
    ),
    ("services.delete", lambda c: c.services.delete(WEB, 1), lambda r: r.state == "deleting"),
    ("services.why", lambda c: c.services.why(WEB, limit=2), lambda r: [s.wanted for s in r.steps] == [1, 2]),
    (
        "services.revisions",
        lambda c: c.services.revisions(WEB),
        lambda r: [one.state for one in r] == ["rolling", "serving"],
    ),
    (
        "services.replicas",
        lambda c: c.services.replicas(WEB),
        lambda r: [one.state for one in r] == ["starting", "ready"],
    ),
    (
        "services.stop",
        lambda c: c.services.stop(WEB, rows.id_make(IdKind.REPLICA, 1)),
        lambda r: r.state == "draining",
    ),
    ("services.pin", lambda c: c.services.pin(WEB, 3), lambda r: r.spec.scale.pin == 3),
    ("services.unpin", lambda c: c.services.unpin(WEB), lambda r: r.spec.scale.pin is None),
    ("services.pause", lambda c: c.services.pause(WEB), lambda r: r.rollout == "paused"),
    ("services.resume", lambda c: c.services.resume(WEB), lambda r: r.rollout == "rolling"),
    ("services.undo", lambda c: c.services.undo(WEB, revision=4), lambda r: r.revision == 4),
    ("secrets.list", lambda c: c.secrets.list(rows.PROJECT), lambda r: r == []),
    ("secrets.put", lambda c: c.secrets.put(rows.PROJECT, "key", b"\0v"), lambda r: r.version == 1),
    ("files.put", lambda c: c.files.put(rows.PROJECT, "in/b.csv", b"x,y"), lambda r: r.size_bytes == 3),
    ("files.get", lambda c: c.files.get(rows.PROJECT, "in/a b.csv"), lambda r: r == b"1,2\n"),
    (
        "files.stream",
        lambda c: c.files.stream(rows.PROJECT, "in/a b.csv"),
        lambda r: b"".join(r) == b"1,2\n",
    ),
    ("files.list", lambda c: c.files.list(rows.PROJECT, "in/"), lambda r: r[0].path == "in/a b.csv"),
    ("files.delete", lambda c: c.files.delete(rows.PROJECT, "in/a b.csv"), lambda r: r is None),
    ("quotas.list", lambda c: c.quotas.list("acme"), lambda r: r == [rows.QUOTA]),
    ("quotas.put", lambda c: c.quotas.put("acme", CPU, 5, version=3), lambda r: r.most == 5),
    ("quotas.delete", lambda c: c.quotas.delete("acme", CPU, 3), lambda r: r is None),
    ("machines.list", lambda c: c.machines.list(rows.POOL), lambda r: r == [rows.MACHINE_ROW]),
    ("machines.get", lambda c: c.machines.get("mac-1"), lambda r: r == rows.MACHINE_ROW),
    ("autoscales.get", lambda c: c.autoscales.get("default"), lambda r: r == rows.AUTOSCALE),
    (
        "autoscales.put",
        lambda c: c.autoscales.put("default", replace(rows.AUTOSCALE.settings, hosts_max=9), version=5),
        lambda r: r.settings.hosts_max == 9,
    ),
    ("autoscales.delete", lambda c: c.autoscales.delete("default", 5), lambda r: r is None),
    ("keys.get", lambda c: c.keys.get("acme"), lambda r: r == rows.KEY),
    ("keys.attach", lambda c: c.keys.attach("acme", "hsm", "key"), lambda r: r == rows.KEY),
    ("keys.withdraw", lambda c: c.keys.withdraw("acme"), lambda r: r == rows.KEY),
    ("keys.restore", lambda c: c.keys.restore("acme"), lambda r: r == rows.KEY),
    ("keys.rotate", lambda c: c.keys.rotate("acme"), lambda r: r == rows.KEY),
    ("platform_key.get", lambda c: c.platform_key.get(), lambda r: r == rows.PLATFORM_KEY),
    ("platform_key.rotate", lambda c: c.platform_key.rotate(), lambda r: r == rows.PLATFORM_KEY),
    ("budgets.get", lambda c: c.budgets.get("acme"), lambda r: r == rows.BUDGET),
    ("budgets.put", lambda c: c.budgets.put("acme", 7), lambda r: r.month_microyen == 7),
    ("budgets.delete", lambda c: c.budgets.delete("acme", 2), lambda r: r is None),
    ("fair_shares.get", lambda c: c.fair_shares.get("acme"), lambda r: r == rows.FAIR_SHARE),
    ("fair_shares.put", lambda c: c.fair_shares.put("acme", 9, version=1), lambda r: r.weight == 9),
    ("rates.list", lambda c: c.rates.list(), lambda r: r == [rows.RATE]),
    ("rates.put", lambda c: c.rates.put("default", RateWrite(7)), lambda r: r.cpu_core_hour_microyen == 7),
    ("reservations.list", lambda c: c.reservations.list("acme"), lambda r: r == [rows.RESERVATION]),
    (
        "reservations.get",
        lambda c: c.reservations.get("acme", rows.RESERVATION.id),
        lambda r: r == rows.RESERVATION,
    ),
    (
        "reservations.create",
        lambda c: c.reservations.create("acme", ReservationCreate("n", "default", 2, rows.AT, rows.AT)),
        lambda r: r.host_count == 2,
    ),
    (
        "reservations.cancel",
        lambda c: c.reservations.cancel("acme", rows.RESERVATION.id),
        lambda r: r.state == "cancelled",
    ),
    ("access_requests.list", lambda c: c.access_requests.list("acme"), lambda r: r == [rows.ACCESS_REQUEST]),
    (
        "access_requests.get",
        lambda c: c.access_requests.get("acme", rows.ACCESS_REQUEST.id),
        lambda r: r == rows.ACCESS_REQUEST,
    ),
    (
        "access_requests.uses",
        lambda c: c.access_requests.uses("acme", rows.ACCESS_REQUEST.id),
        lambda r: r == [rows.ACCESS_USE],
    ),
    (
        "access_requests.create",
        lambda c: c.access_requests.create(
            "acme", AccessRequestCreate(rows.ORG, (AccessSet.FILES,), "to see which file is broken")
        ),
        lambda r: r.sets == (AccessSet.FILES,) and r.duration_s == 3_600,
    ),
    (
        "access_requests.approve",
        lambda c: c.access_requests.approve(
            "acme", rows.ACCESS_REQUEST.id, AccessApprove(rows.ACCESS_KEY.id, rows.SIGNATURE)
        ),
        lambda r: r.state == "approve" and r.key == rows.ACCESS_KEY.id,
    ),
    (
        "access_requests.deny",
        lambda c: c.access_requests.deny("acme", rows.ACCESS_REQUEST.id, "not now"),
        lambda r: r.state == "deny" and r.reason == "not now",
    ),
    (
        "access_requests.revoke",
        lambda c: c.access_requests.revoke("acme", rows.ACCESS_REQUEST.id),
        lambda r: r.state == "revoke",
    ),
    (
        "access_requests.end",
        lambda c: c.access_requests.end("acme", rows.ACCESS_REQUEST.id),
        lambda r: r.state == "end",
    ),
    (
        "access_requests.confirm",
        lambda c: c.access_requests.confirm("acme", rows.ACCESS_REQUEST.id),
        lambda r: r.state == "confirm",
    ),
    (
        "access_requests.explain",
        lambda c: c.access_requests.explain("acme", rows.ACCESS_REQUEST.id, "the disk was full"),
        lambda r: r.state == "explain" and r.explanation == "the disk was full",
    ),
    ("access_keys.list", lambda c: c.access_keys.list("acme"), lambda r: r == [rows.ACCESS_KEY]),
    (
        "access_keys.create",
        lambda c: c.access_keys.create("acme", AccessKeyCreate("second", rows.KEY_TEXT)),
        lambda r: r.name == "second",
    ),
    (
        "access_keys.retire",
        lambda c: c.access_keys.retire("acme", rows.ACCESS_KEY.id),
        lambda r: r.state == "retired",
    ),
    ("access_rules.list", lambda c: c.access_rules.list("acme"), lambda r: r == [rows.ACCESS_RULE]),
    (
        "access_rules.create",
        lambda c: c.access_rules.create(
            "acme",
            AccessRuleCreate(
                "days", rows.ORG, (AccessSet.LOGS,), 60, rows.AT, rows.ACCESS_KEY.id, rows.SIGNATURE
            ),
        ),
        lambda r: r.name == "days" and r.duration_s == 60,
    ),
    (
        "access_rules.revoke",
        lambda c: c.access_rules.revoke("acme", rows.ACCESS_RULE.id),
        lambda r: r.state == "revoked",
    ),
    ("usage.project", lambda c: c.usage.project(rows.PROJECT), lambda r: r == rows.USAGE),
    ("usage.organization", lambda c: c.usage.organization("acme"), lambda r: r.project is None),
    ("usage.platform", lambda c: c.usage.platform(), lambda r: r == [rows.USAGE]),
    ("events.organization", lambda c: c.events.organization("acme"), lambda r: r[0].log_index == 2),
    ("events.platform", lambda c: c.events.platform(limit=2), lambda r: len(r) == 2),
    ("events.get", lambda c: c.events.get(EVENT), lambda r: r.log_index == 1),
    ("notices.list", lambda c: c.notices.list("acme"), lambda r: r == [rows.NOTICE_SENDING]),
    ("notice_targets.list", lambda c: c.notice_targets.list("acme"), lambda r: r == [rows.NOTICE_TARGET]),
    (
        "notice_targets.create",
        lambda c: c.notice_targets.create(
            "acme", NoticeChannel.WEBHOOK, "https://acme.example/other", [NoticeKind.BREAK_GLASS]
        ),
        lambda r: (r.secret, r.target.kinds) == (rows.WEBHOOK_SECRET, (NoticeKind.BREAK_GLASS,)),
    ),
    (
        "notice_targets.delete",
        lambda c: c.notice_targets.delete(rows.NOTICE_TARGET.id),
        lambda r: r is None,
    ),
    (
        "notice_targets.test",
        lambda c: c.notice_targets.test(rows.NOTICE_TARGET.id),
        lambda r: r == rows.NOTICE_SENDING,
    ),
    ("log.read", lambda c: c.log.read("tile/0/000.p/3"), lambda r: len(r) == 96),
    ("log.checkpoint", lambda c: c.log.checkpoint(), lambda r: r.startswith(b"kumoi.local/fake\n3\n")),
    ("log.witnesses", lambda c: c.log.witnesses(), lambda r: r.published_size == 600),
    ("log.vkey", lambda c: c.log.vkey(), lambda r: r.startswith("kumoi.local/fake+")),
    ("log.receipt", lambda c: c.log.receipt(EVENT), lambda r: r.event.id == EVENT),
]
ELSEWHERE = {
    "organizations.resume",
    "secrets.delete",
    "files.save",
    "events.watch",
    "services.watch",
    "services.follow",
}
"""Operations with tests of their own, because they need more than one call."""


def joined(parts: list[Any], stream: str) -> bytes:
    return b"".join(part.data for part in parts if part.stream == stream)


@run_each
@pytest.mark.parametrize(("name", "call", "check"), TABLE, ids=[name for name, _, _ in TABLE])
def test_operation(running, plane, run, name, call, check):
    if name.startswith("jobs.") and not name.startswith("jobs.create"):
        plane.job_add(JobSpec(("train",), name="train"))
    if name.startswith("services.") and name != "services.create":
        plane.services.add(SERVICE)
    plane.files["in/a b.csv"] = b"1,2\n"
    answer = run(running.url, call)
    assert check(answer), answer


@run_each
def test_a_service_is_watched_until_it_is_deleted(running, plane, run):
    service = plane.services.add(SERVICE)
    plane.services.rows[service.id] = replace(service, state="deleting")
    assert [s.state for s in run(running.url, lambda c: c.services.watch(WEB))] == ["deleting", "deleted"]
    plane.services.rows[service.id] = replace(service, state="deleting")
    looks = run(running.url, lambda c: c.services.follow(WEB, steps=1))
    assert [(look.service.state, len(look.why.steps)) for look in looks] == [("deleting", 1), ("deleted", 1)]


@run_each
def test_waiting_for_a_service_ends_in_time(running, plane, run):
    plane.services.rows[plane.services.add(SERVICE).id] = replace(plane.services.add(SERVICE), rollout="done")
    with pytest.raises(WaitTimeout):
        run(running.url, lambda c: c.services.watch(WEB, timeout_s=0))


def operations(kind: Any = Operation | Streaming) -> set[str]:
    with Kumoi("http://127.0.0.1:1") as client:
        groups = {"": client} | {n: g for n, g in vars(client).items() if isinstance(g, Group)}
    return {
        f"{group}.{name}".lstrip(".")
        for group, held in groups.items()
        for base in type(held).__mro__
        for name, value in vars(base).items()
        if isinstance(value, kind)
    }


def test_the_table_has_every_operation():
    assert operations() == {name for name, _, _ in TABLE} | ELSEWHERE


def test_the_page_of_the_sdk_lists_every_operation():
    page = (Path(__file__).parents[2] / "docs" / "tenant" / "sdk.md").read_text("utf-8")
    listed = re.findall(r"^\| `client\.?(\w*)` \| (.+) \|$", page, re.MULTILINE)
    named = {f"{g}.{m}".lstrip(".") for g, cell in listed for m in re.findall(r"`(\w+)`", cell)}
    iterators = {f"{g}.{m}".lstrip(".") for g, cell in listed for m in re.findall(r"`(\w+)` \(I\)", cell)}
    assert named == operations()
    assert iterators == operations(Streaming)


@run_each
def test_lists_go_through_every_page_and_stop_at_the_limit(running, plane, run):
    for number in range(230):
        plane.job_add(JobSpec(("true",), name=f"job-{number}"))
    names = [job.name for job in run(running.url, lambda c: c.jobs.list(rows.PROJECT))]
    assert names == [f"job-{number}" for number in range(229, -1, -1)]
    assert [asked.query["limit"] for asked in plane.asked] == ["100", "100", "100"]
    assert len(run(running.url, lambda c: c.jobs.list(rows.PROJECT, limit=120))) == 120
    assert run(running.url, lambda c: c.jobs.list(rows.PROJECT, state="failed")) == []


@run_each
def test_a_suspended_organization_is_resumed(running, plane, run):
    run(running.url, lambda c: c.organizations.suspend("acme"))
    assert run(running.url, lambda c: c.organizations.resume("acme")).state == "active"


@run_each
def test_a_secret_is_removed_only_in_the_version_that_was_seen(running, plane, run):
    run(running.url, lambda c: c.secrets.put(rows.PROJECT, "key", b"one"))
    run(running.url, lambda c: c.secrets.put(rows.PROJECT, "key", b"two", version=1))
    with pytest.raises(PreconditionFailedError):
        run(running.url, lambda c: c.secrets.delete(rows.PROJECT, "key", 1))
    assert plane.secret_values == {"key": b"two"}
    run(running.url, lambda c: c.secrets.delete(rows.PROJECT, "key", 2))
    assert plane.secrets == {}


@run_each
def test_files_go_up_from_disk_and_come_down_whole(running, plane, run, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 1000)
    moved: list[int] = []
    run(running.url, lambda c: c.files.put(rows.PROJECT, "data/big", source, sent=moved.append))
    assert plane.files["data/big"] == source.read_bytes()
    assert moved[-1] == 256_000
    assert plane.asked[-1].headers["content-length"] == "256000"
    assert run(running.url, lambda c: c.files.save(rows.PROJECT, "data/big", target)) == 256_000
    assert target.read_bytes() == source.read_bytes()
    assert sorted(tmp_path.iterdir()) == [source, target]


@run_each
def test_a_watch_continues_behind_the_last_event_when_it_is_cut(running, plane, run):
    plane.event_add("job_cancel", 3)

    def three_sync(url):
        with Kumoi(url, rows.TOKEN) as client:
            watch = client.events.watch("acme", after=0)
            return [next(watch).log_index for _ in range(3)]

    async def three_async(url):
        async with AsyncKumoi(url, rows.TOKEN) as client:
            watch = client.events.watch("acme", after=0)
            return [(await anext(watch)).log_index for _ in range(3)]

    seen = three_sync(running.url) if run is run_sync else asyncio.run(three_async(running.url))
    assert seen == [1, 2, 3]
    assert [asked.headers.get("last-event-id") for asked in plane.asked] == ["0", "1", "2"]


def test_a_watch_without_a_place_begins_at_the_end_of_the_log(running, plane):
    with Kumoi(running.url, rows.TOKEN) as client:
        watch = client.events.watch("acme")
        threading.Timer(0.2, plane.event_add, ("job_cancel", 3)).start()
        assert next(watch).action == "job_cancel"


@run_each
def test_a_receipt_is_waited_for(running, plane, run):
    plane.unlogged = 1
    assert run(running.url, lambda c: c.log.receipt(EVENT, timeout_s=30)).event.id == EVENT
    assert len(plane.asked) == 2


@run_each
def test_the_log_follows_the_attempts_to_come(running, plane, run):
    plane.polls_to_end = 3
    plane.job_add(JobSpec(("true",)))
    parts = run(running.url, lambda c: c.jobs.logs(JOB, follow=True, streams=("stdout",)))
    assert joined(parts, "stdout") == b"hello\n"
    assert {part.attempt for part in parts} == {1}
    assert plane.jobs[JOB].state == "succeeded"


def test_no_attempt_is_passed_over_however_fast_they_come():
    flow = job_logs(JOB, follow=True, streams=("stdout",))
    attempt = Attempt(JOB, 1, "ended", JOB, None, None, None, rows.AT, None, None, None, None)
    task = Task(
        JOB, JOB, 0, "failed", None, (attempt, replace(attempt, number=2), replace(attempt, number=3))
    )
    listed = msgspec.json.encode(Page((task,), None))
    read: list[str] = []
    effect = next(flow)
    while True:
        assert isinstance(effect, Request)
        if effect.path.endswith("/log"):
            read.append(dict(effect.query)["attempt"])
            answer = Answer(effect, 200, {"kumoi-ended": "true"}, b"")
        else:
            answer = Answer(effect, 200, {}, listed)
        try:
            effect = flow.send(answer)
        except StopIteration:
            break
    assert read == ["1", "2", "3"]
