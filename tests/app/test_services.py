"""Services: what is refused, what a change leads to, and what the log says of it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from plane_fixture import Tenant, World, key_of

from kumoi.app import rollouts, services
from kumoi.app.events import event_list
from kumoi.app.jobs import job_cancel, job_create, job_list
from kumoi.app.projects import project_archive
from kumoi.app.secrets import secret_write
from kumoi.core.replica_jobs import replica_job
from kumoi.model.access import Role
from kumoi.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KumoiError,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.records import SecretWrite
from kumoi.model.services import (
    Condition,
    RevisionSpec,
    RolloutUndo,
    RouteSpec,
    ScaleSpec,
    Schedule,
    Service,
    ServicePin,
    ServiceSpec,
    ServiceWhy,
)
from kumoi.store import schema
from kumoi.store.ids import id_new
from kumoi.store.jobs import JobPlace, job_row

RUN = RevisionSpec(8_080, ("/bin/serve",))
IMAGE = "registry.example/web@sha256:" + "0" * 64


def test_a_project_with_services_is_not_archived(world: World, acme: Tenant) -> None:
    site = Site(world, acme)
    service = site.create()
    with pytest.raises(Conflict) as raised:
        world.write(project_archive(site.plane, site.actor, site.project, None))
    assert raised.value.code == "project_has_services"
    row = {"state": "deleted", "deleted_us": world.plane.clock_us()}
    world.plane.store.transact_wait(
        None,
        lambda c: (
            c.execute(schema.services.update().where(schema.services.c.id == service).values(**row)) and None
        ),
    )
    world.write(project_archive(site.plane, site.actor, site.project, None))


class Site:
    """A tenant's project with services."""

    def __init__(self, world: World, tenant: Tenant) -> None:
        self.world, self.plane, self.tenant = world, world.plane, tenant
        self.actor = tenant.admin
        self.project = tenant.project("site")

    def spec(self, name: str = "web", **change: Any) -> ServiceSpec:
        return ServiceSpec(**({"run": RUN, "name": name} | change))

    def create(self, spec: ServiceSpec | None = None, **more: Any) -> str:
        work = services.service_create(self.plane, self.actor, self.project, spec or self.spec(**more), None)
        return str(self.world.write(work)["id"])

    def show(self, service: str) -> Service:
        return self.world.run(services.service_read(self.plane, self.actor, service))

    def update(self, service: str, spec: ServiceSpec, if_match: str | None = "*") -> dict[str, Any]:
        return self.world.write(services.service_update(self.plane, self.actor, service, spec, if_match))

    def port(self, service: str, port: int) -> dict[str, Any]:
        """Roll out another revision."""
        return self.update(service, self.spec(run=RevisionSpec(port, ("/bin/serve",))))

    def undo(self, service: str, revision: int | None = None) -> dict[str, Any]:
        body = RolloutUndo(revision)
        return self.world.write(rollouts.rollout_undo(self.plane, self.actor, service, body, None))

    def revisions(self, service: str) -> list[tuple[int, str]]:
        page = self.world.run(rollouts.revision_list(self.plane, self.actor, service, 100, None))
        return [(one.number, one.state) for one in page.items]

    def write(self, work: Callable[[Any], Any]) -> None:
        self.plane.store.transact_wait(None, work)

    def takes_over(self, service: str, number: int) -> None:
        """What the loop does when a revision proved itself."""
        revisions, table = schema.revisions, schema.services

        def work(connection: Any) -> None:
            of_service = revisions.c.service_id == service
            serving = of_service & (revisions.c.state == "serving")
            connection.execute(revisions.update().where(serving).values(state="retired"))
            own = of_service & (revisions.c.number == number)
            connection.execute(revisions.update().where(own).values(state="serving"))
            values = {"revision": number, "target": 0}
            connection.execute(table.update().where(table.c.id == service).values(values))

        self.write(work)

    def fails(self, service: str, number: int) -> None:
        """What the loop does when a revision is given up."""
        revisions, table = schema.revisions, schema.services

        def work(connection: Any) -> None:
            own = (revisions.c.service_id == service) & (revisions.c.number == number)
            connection.execute(revisions.update().where(own).values(state="failed", reason="it fell"))
            connection.execute(table.update().where(table.c.id == service).values(target=0))

        self.write(work)

    def replica(self, service: str) -> tuple[str, str]:
        """A replica as the loop makes one: its id and its job's."""
        shown = self.show(service)
        job, replica = id_new(IdKind.JOB), id_new(IdKind.REPLICA)

        def work(connection: Any) -> None:
            table = schema.services
            row = connection.execute(table.select().where(table.c.id == service)).one()
            place = JobPlace(
                row.organization_id, row.project_id, row.pool_id, row.data_class, row.jurisdiction
            )
            spec = replica_job(shown.spec, shown.spec.run)
            made = {"created_us": self.world.clock_us, "created_by": row.created_by, "service_id": service}
            connection.execute(
                schema.jobs.insert(),
                [job_row(job, spec, "pending", place, sealed=None, **made)],
            )
            asked = {"id": replica, "service_id": service, "revision": 1, "job_id": job}
            connection.execute(schema.replicas.insert(), [asked | {"asked_us": self.world.clock_us}])

        self.write(work)
        return replica, job

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What the log says of services, newest first."""
        page = self.world.run(event_list(self.plane, self.actor, self.tenant.id, 100, None))
        named = ("service", "replica")
        return [(one.action, dict(one.detail)) for one in page.items if one.action.startswith(named)]


@pytest.fixture
def site(world: World, acme: Tenant) -> Site:
    return Site(world, acme)


def refused(kind: type[KumoiError], work: Callable[[], Any]) -> tuple[str, str | None]:
    with pytest.raises(kind) as caught:
        work()
    return caught.value.code, caught.value.at


def test_a_new_service_rolls_out_its_first_revision(site: Site) -> None:
    service = site.create()
    shown = site.show(service)
    assert (shown.state, shown.rollout, shown.revision, shown.version) == ("active", "rolling", 0, 1)
    assert shown.url_path == f"/{site.project}/web"
    assert site.revisions(service) == [(1, "rolling")]
    assert site.told() == [
        ("service_create", {"generation": 1, "name": "web", "pool": "default", "revision": 1})
    ]


def test_the_same_key_makes_one_service(site: Site) -> None:
    key = key_of(site.actor, "once")

    def create(spec: ServiceSpec, key: Any) -> Any:
        return site.world.run(services.service_create(site.plane, site.actor, site.project, spec, key))

    first, second = create(site.spec(), key), create(site.spec(), key)
    assert (first.body, second.replayed) == (second.body, True)
    other = key_of(site.actor, "once", b"\1" * 32)
    assert refused(Conflict, lambda: create(site.spec("b"), other))[0] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        ({"scale": ScaleSpec(3, 2)}, "replicas_min_above_max", "/scale/min_replicas"),
        ({"scale": ScaleSpec(pin=11)}, "pin_above_max", "/scale/pin"),
        (
            {"scale": ScaleSpec(schedules=(Schedule((0,), 0, 60, 0, 1, "Asia/Edo"),))},
            "time_zone_unknown",
            "/scale/schedules/0/time_zone",
        ),
        (
            {"scale": ScaleSpec(schedules=(Schedule((0,), 0, 60, 0, 1, "/etc/passwd"),))},
            "time_zone_unknown",
            "/scale/schedules/0/time_zone",
        ),
        (
            {"scale": ScaleSpec(schedules=(Schedule((0,), 0, 60, 0, 1, ".."),))},
            "time_zone_unknown",
            "/scale/schedules/0/time_zone",
        ),
        ({"pool": "nowhere"}, "pool_unknown", "/pool"),
        ({"run": RevisionSpec(80)}, "command_missing", "/run/command"),
        (
            {"run": RevisionSpec(80, ("a",), secrets={"KEY": "never-was"})},
            "secret_unknown",
            "/run/secrets/KEY",
        ),
        ({"route": RouteSpec(path="/")}, "route_path_not_yours", "/route/path"),
        ({"run": RevisionSpec(80, image=IMAGE)}, "image_needs_containers", "/run/image"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    site: Site, change: dict[str, Any], code: str, at: str
) -> None:
    assert refused(Invalid, lambda: site.create(**change)) == (code, at)
    page = site.world.run(services.service_list(site.plane, site.actor, site.project, 10, None, None))
    assert page.items == ()
    assert site.told() == []


def test_a_replica_too_large_for_every_host_is_refused(site: Site) -> None:
    row = {"id": id_new(IdKind.HOST), "name": "small", "health": "up", "detail": "", "boot_id": "b"}
    size = {"cpu_milli": 1_000, "memory_bytes": 1 << 30, "failure_domain": "small", "seen_us": 1}
    pools = schema.pools

    def work(connection: Any) -> None:
        pool_id = connection.execute(pools.select().where(pools.c.name == "default")).one().id
        connection.execute(schema.hosts.insert(), [row | size | {"pool_id": pool_id}])

    site.write(work)
    large = RevisionSpec(80, ("a",), resources=Resources(cpu_milli=64_000))
    _code, at = refused(Invalid, lambda: site.create(run=large))
    assert at is not None
    assert at.startswith("/run/resources")


def test_names_and_routes_are_given_once(site: Site) -> None:
    site.create()
    assert refused(Conflict, site.create) == ("name_in_use", "/name")
    route = RouteSpec(("www.example.jp",))
    site.create(site.spec("a", route=route))
    assert refused(Conflict, lambda: site.create(site.spec("b", route=route))) == ("route_taken", "/route")
    rival = Site(site.world, site.world.tenant("rival"))
    other_path = RouteSpec(("www.example.jp",), "/other")
    assert refused(Conflict, lambda: rival.create(rival.spec(route=other_path)))[0] == "route_taken"
    site.create(site.spec("c", route=other_path))


def test_a_secret_that_is_there_is_taken(site: Site) -> None:
    body = SecretWrite("aHVzaA==")
    site.world.write(secret_write(site.plane, site.actor, site.project, "db", body, None))
    site.create(run=RevisionSpec(80, ("a",), secrets={"KEY": "db"}))


def test_another_run_is_a_revision_and_nothing_else_is(site: Site) -> None:
    service = site.create()
    scaled = site.update(service, site.spec(scale=ScaleSpec(1, 3)))
    assert (scaled["version"], scaled["spec"]["scale"]["max_replicas"]) == (2, 3)
    assert site.revisions(service) == [(1, "rolling")]
    site.takes_over(service, 1)
    assert site.port(service, 81)["rollout"] == "rolling"
    assert site.revisions(service) == [(2, "rolling"), (1, "serving")]
    site.port(service, 82)
    assert site.revisions(service) == [(3, "rolling"), (2, "retired"), (1, "serving")]
    shown = site.show(service)
    assert (shown.version, shown.revision, shown.spec.run.port) == (4, 1, 82)
    assert [action for action, _ in site.told()] == ["service_update"] * 3 + ["service_create"]
    assert site.told()[0][1] == {"generation": 4, "name": "web", "revision": 3}


def test_a_change_names_the_version_that_it_changes(site: Site) -> None:
    service = site.create()
    spec = site.spec(priority=1)
    assert refused(PreconditionRequired, lambda: site.update(service, spec, None))[1] == "If-Match"
    assert refused(PreconditionFailed, lambda: site.update(service, spec, '"2"'))[0] == "version_differs"
    assert site.update(service, spec, '"1"')["version"] == 2
    assert refused(PreconditionFailed, lambda: site.update(service, spec, '"1"'))[0] == "version_differs"
    assert site.show(service).version == 2


def test_a_service_keeps_its_name(site: Site) -> None:
    service = site.create()
    found = refused(Invalid, lambda: site.update(service, site.spec("other")))
    assert found == ("service_name_fixed", "/name")


def test_a_refused_change_leaves_the_route_as_it_was(site: Site) -> None:
    service = site.create()
    site.create(site.spec("shop", route=RouteSpec(("www.example.jp",))))
    taken = site.spec(route=RouteSpec(("www.example.jp",)))
    assert refused(Conflict, lambda: site.update(service, taken))[0] == "route_taken"
    own = RouteSpec(path=f"/{site.project}/web")
    assert refused(Conflict, lambda: site.create(site.spec("thief", route=own)))[0] == "route_taken"


def test_undoing_a_rollout_goes_back_to_what_serves(site: Site) -> None:
    service = site.create()
    site.takes_over(service, 1)
    site.port(service, 81)
    undone = site.undo(service)
    assert (undone["rollout"], undone["spec"]["run"]["port"]) == ("done", 8_080)
    assert site.revisions(service) == [(2, "retired"), (1, "serving")]
    code, _ = refused(Conflict, lambda: site.undo(service))
    assert code == "nothing_to_undo"
    assert site.told()[0] == ("service_rollout_undo", {"generation": 3, "name": "web", "revision": 1})


def test_undoing_what_serves_goes_back_to_what_served_before(site: Site) -> None:
    service = site.create()
    site.takes_over(service, 1)
    site.port(service, 81)
    site.takes_over(service, 2)
    undone = site.undo(service)
    assert (undone["rollout"], undone["revision"], undone["spec"]["run"]["port"]) == ("rolling", 2, 8_080)
    assert site.revisions(service) == [(2, "serving"), (1, "rolling")]
    assert refused(Conflict, lambda: site.undo(service, 1))[0] == "nothing_to_undo"


def test_a_revision_that_failed_is_tried_again(site: Site) -> None:
    service = site.create()
    site.fails(service, 1)
    assert site.show(service).rollout == "failed"
    assert site.undo(service)["rollout"] == "rolling"
    site.fails(service, 1)
    site.port(service, 81)
    assert site.undo(service, 1)["spec"]["run"]["port"] == 8_080
    assert site.revisions(service) == [(2, "retired"), (1, "rolling")]
    assert refused(NotFound, lambda: site.undo(service, 7))[0] == "not_found"


def test_what_serves_after_a_failure_is_stayed_with(site: Site) -> None:
    service = site.create()
    site.takes_over(service, 1)
    site.port(service, 81)
    site.fails(service, 2)
    assert site.show(service).rollout == "failed"
    kept = site.undo(service, 1)
    assert (kept["rollout"], kept["revision"], kept["spec"]["run"]["port"]) == ("done", 1, 8_080)
    assert site.revisions(service) == [(2, "failed"), (1, "serving")]
    assert refused(Conflict, lambda: site.undo(service, 1))[0] == "nothing_to_undo"


def test_going_back_further_than_a_failed_revision_is_no_failure(site: Site) -> None:
    service = site.create()
    site.takes_over(service, 1)
    site.port(service, 81)
    site.takes_over(service, 2)
    site.port(service, 82)
    site.fails(service, 3)
    site.undo(service, 1)
    site.takes_over(service, 1)
    assert site.show(service).rollout == "done"


def test_an_automatic_rollback_is_not_undone_by_accident(site: Site) -> None:
    service = site.create()
    site.takes_over(service, 1)
    site.port(service, 81)
    site.fails(service, 2)
    assert refused(Conflict, lambda: site.undo(service))[0] == "nothing_to_undo"
    assert site.undo(service, 2)["rollout"] == "rolling"


def test_a_first_revision_has_nothing_before_it(site: Site) -> None:
    assert refused(Conflict, lambda: site.undo(site.create()))[0] == "nothing_to_undo"


def test_a_rollout_is_paused_once(site: Site) -> None:
    service = site.create()
    for work, rollout in (
        (rollouts.rollout_pause, "paused"),
        (rollouts.rollout_pause, "paused"),
        (rollouts.rollout_resume, "rolling"),
        (rollouts.rollout_resume, "rolling"),
    ):
        assert site.world.write(work(site.plane, site.actor, service, None))["rollout"] == rollout
    assert [action for action, _ in site.told()] == [
        "service_rollout_resume",
        "service_rollout_pause",
        "service_create",
    ]
    assert site.show(service).version == 3


def test_a_pin_holds_within_what_the_service_may_have(site: Site) -> None:
    service = site.create(scale=ScaleSpec(1, 4))

    def pin(replicas: int) -> dict[str, Any]:
        return site.world.write(
            services.service_pin(site.plane, site.actor, service, ServicePin(replicas), None)
        )

    assert refused(Invalid, lambda: pin(5)) == ("pin_above_max", "/replicas")
    assert pin(4)["spec"]["scale"]["pin"] == 4
    assert pin(4)["version"] == 2
    assert pin(0)["version"] == 3
    unpinned = site.world.write(services.service_unpin(site.plane, site.actor, service, None))
    assert (unpinned["spec"]["scale"]["pin"], unpinned["version"]) == (None, 4)
    assert site.told()[:2] == [
        ("service_unpin", {"generation": 4, "name": "web"}),
        ("service_pin", {"generation": 3, "name": "web", "replicas": 0}),
    ]


def test_a_deleted_service_changes_no_more_and_leaves_its_name(site: Site) -> None:
    service = site.create()

    def delete(if_match: str | None) -> dict[str, Any]:
        return site.world.write(services.service_delete(site.plane, site.actor, service, if_match))

    assert refused(PreconditionRequired, lambda: delete(None))[1] == "If-Match"
    assert refused(PreconditionFailed, lambda: delete('"7"'))[0] == "version_differs"
    assert delete('"1"')["state"] == "deleting"
    assert delete("*")["state"] == "deleting"
    assert [action for action, _ in site.told()] == ["service_delete", "service_create"]
    for work in (
        lambda: site.update(service, site.spec(priority=1)),
        lambda: site.undo(service),
        lambda: site.world.write(rollouts.rollout_pause(site.plane, site.actor, service, None)),
    ):
        assert refused(Conflict, work)[0] == "service_deleted"
    own = RouteSpec(path=f"/{site.project}/web")
    site.create(site.spec("heir", route=own))


def test_a_replica_is_stopped_through_its_service(site: Site) -> None:
    service = site.create()
    replica, job = site.replica(service)

    def stop(replica: str) -> dict[str, Any]:
        return site.world.write(rollouts.replica_stop(site.plane, site.actor, service, replica, None))

    with pytest.raises(Conflict) as caught:
        site.world.run(job_cancel(site.plane, site.actor, job, None))
    assert caught.value.code == "job_of_service"
    assert stop(replica)["state"] == "draining"
    assert stop(replica)["reason"] == f"stopped by {site.actor.id}"
    assert site.told()[0] == ("replica_stop", {"generation": 1, "name": "web", "replica": replica})
    assert [action for action, _ in site.told()].count("replica_stop") == 1
    assert refused(NotFound, lambda: stop(id_new(IdKind.REPLICA)))[0] == "not_found"
    table = schema.replicas
    ended = table.update().where(table.c.id == replica).values(state="ended", ended_us=1)
    site.write(lambda connection: connection.execute(ended))
    assert refused(Conflict, lambda: stop(replica))[0] == "replica_ended"


def test_jobs_of_replicas_are_listed_by_their_service_alone(site: Site) -> None:
    service = site.create()
    _, job = site.replica(service)
    work = job_create(site.plane, site.actor, site.project, JobSpec(("a",)), None)
    other = site.world.write(work)["id"]

    def listed(service: str | None) -> list[str]:
        work = job_list(site.plane, site.actor, site.project, 10, None, None, service)
        return [one.id for one in site.world.run(work).items]

    assert (listed(None), listed(service)) == ([other], [job])


def test_why_says_what_was_decided_and_what_stands_in_the_way(site: Site) -> None:
    service = site.create()

    def why() -> ServiceWhy:
        return site.world.run(rollouts.service_why(site.plane, site.actor, service, 10))

    assert (why().state, why().conditions, why().steps) == ("active", (), ())
    row = {"id": id_new(IdKind.SCALING), "service_id": service, "at_us": 1, "wanted": 2, "ready": 0}
    more = {"waiting": 1, "demand_milli": 1, "digest": "0" * 64, "inputs": b""}
    reason = '{"code": "wake", "figures": {"waiting": 1}}'
    site.write(lambda c: c.execute(schema.scalings.insert(), [row | more | {"reason": reason}]))
    table = schema.services
    told = Condition("slow_start", "2027-01-15T08:00:00Z", {"replicas": "1", "why": "nothing answers"})
    conditions = msgspec.json.encode([told]).decode()
    site.write(lambda c: c.execute(table.update().values(conditions=conditions)))
    [step] = why().steps
    assert (step.code, step.figures, step.wanted, why().conditions) == ("wake", {"waiting": 1}, 2, (told,))
    site.world.write(services.service_delete(site.plane, site.actor, service, "*"))
    assert why().state == "deleting"


def test_who_may_look_and_who_may_change(site: Site) -> None:
    service = site.create()
    viewer = site.tenant.actor("viewer", Role.VIEWER, project=site.project)
    member = site.tenant.actor("member", Role.MEMBER, project=site.project)
    assert site.world.run(services.service_read(site.plane, viewer, service)).name == "web"

    def pin(actor: Any) -> Any:
        return site.world.run(services.service_pin(site.plane, actor, service, ServicePin(1), None))

    with pytest.raises(Forbidden):
        pin(viewer)
    assert pin(member).status == 200
    for stranger in (site.world.operator, site.world.tenant("rival").admin):
        with pytest.raises(NotFound):
            site.world.run(services.service_read(site.plane, stranger, service))
        with pytest.raises(NotFound):
            pin(stranger)
