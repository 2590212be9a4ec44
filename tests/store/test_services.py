"""Services in the store: revisions, routes, replicas and decisions."""

import json
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from region_rows import T0_US, RegionRows
from sqlalchemy import text

from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.model.services import Condition, RevisionSpec, RouteSpec, ServiceSpec
from kumoi.store import schema, services
from kumoi.store.database import Store
from kumoi.store.errors import StaleState
from kumoi.store.ids import id_new
from kumoi.store.services import REVISIONS_KEPT

S_US = 1_000_000
WAIT_S = 20
_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Services(RegionRows):
    """A region with services as the API writes them."""

    def do(self, work: Any, *args: Any) -> Any:
        return self.store.transact_wait(None, work, *args)

    def read(self, work: Any, *args: Any) -> Any:
        return self.store.read_wait(work, *args)

    def set_row(self, table: Any, row_id: str, **values: Any) -> None:
        self.do(lambda connection: connection.execute(table.update().where(table.c.id == row_id), values))

    def spec(self, name: str = "web", **change: Any) -> ServiceSpec:
        return ServiceSpec(RevisionSpec(8_080, ("/bin/serve",)), name, **change)

    def add(self, spec: ServiceSpec, organization: str = "one", **more: Any) -> str:
        service_id = id_new(IdKind.SERVICE)
        by = self.users[organization]
        row = {
            "id": service_id,
            "organization_id": self.organizations[organization],
            "project_id": self.projects[organization],
            "pool_id": self.pool,
            "name": spec.name,
            "spec": services.spec_text(spec),
            "target": 1,
            "created_us": T0_US,
            "created_by": by,
        }
        self.write(schema.services, row | more)
        self.do(services.revision_add, service_id, 1, spec.run, T0_US, by)
        return service_id

    def replica(self, service_id: str, **more: Any) -> str:
        row = {"id": id_new(IdKind.REPLICA), "service_id": service_id, "revision": 1, "asked_us": T0_US}
        job = self.job_add(JobSpec(("/bin/serve",)), service_id=service_id)
        self.write(schema.replicas, row | {"job_id": job} | more)
        return str(row["id"])

    def claim(self, service_id: str, spec: ServiceSpec, organization: str = "one") -> str | None:
        return self.do(services.routes_claim, service_id, self.projects[organization], spec)  # type: ignore[no-any-return]

    def show(self, service_id: str) -> Any:
        return self.read(
            lambda connection: services.service_show(connection, services.service_get(connection, service_id))
        )


@pytest.fixture
def region(store: Any) -> Services:
    return Services(store)


def test_a_service_shows_its_counts_and_its_replicas(region: Services) -> None:
    service = region.add(region.spec(), conditions='[{"code": "c", "at": "t", "params": {"x": "1"}}]')
    ended = region.replica(service, state="ended", ended_us=T0_US)
    starting = region.replica(service)
    ready = region.replica(service, state="ready", ready_us=T0_US, busy=3)
    region.replica(region.add(region.spec("other")))
    shown = region.show(service)
    assert (shown.ready, shown.starting, shown.draining, shown.version) == (1, 1, 0, 1)
    assert [replica.id for replica in shown.replicas] == [ready, starting, ended]
    assert shown.replicas[0].busy == 3
    assert shown.conditions == (Condition("c", "t", {"x": "1"}),)
    assert shown.url_path == f"/{region.projects['one']}/web"
    assert shown.rollout == "rolling"
    assert shown.spec == region.spec()


def test_rollouts_have_a_name(region: Services) -> None:
    service = region.add(region.spec())
    region.set_row(schema.services, service, paused=True)
    assert region.show(service).rollout == "paused"
    region.do(services.revision_move, service, 1, "rolling", "failed", "it fell")
    region.set_row(schema.services, service, target=0)
    assert region.show(service).rollout == "failed"
    region.do(services.revision_move, service, 1, "failed", "rolling", None)
    region.do(services.revision_move, service, 1, "rolling", "serving", None)
    assert region.show(service).rollout == "done"


def test_lists_are_of_a_project_and_end_where_they_are_told(region: Services) -> None:
    first, second = region.add(region.spec("a")), region.add(region.spec("b"))
    region.add(region.spec("a"), organization="two")
    gone = region.add(region.spec("gone"), state="deleted", deleted_us=T0_US)
    region.replica(second, state="ready", ready_us=T0_US)
    project = region.projects["one"]
    listed = region.read(services.service_list, project, None, 10, None)
    assert [(one.id, one.ready) for one in listed] == [(first, 0), (second, 1)]
    assert [one.id for one in region.read(services.service_list, project, None, 1, first)] == [second]
    assert [one.id for one in region.read(services.service_list, project, "b", 10, None)] == [second]
    assert region.read(services.service_list, project, "gone", 10, None) == []
    assert region.read(services.service_count, project) == 2
    assert region.show(gone).state == "deleted"


def test_a_change_is_one_generation_on(region: Services) -> None:
    service = region.add(region.spec())

    def change(connection: Any) -> Any:
        row = services.service_lock(connection, service)
        assert row is not None
        return services.service_change(connection, row, region.spec(priority=3), {"paused": True})

    row = region.do(change)
    assert (row.generation, row.version, row.paused) == (2, 2, True)
    assert services.spec_of(row).priority == 3


def test_a_revision_moves_once(region: Services) -> None:
    service = region.add(region.spec())
    region.do(services.revision_move, service, 1, "rolling", "serving", None)
    with pytest.raises(StaleState):
        region.do(services.revision_move, service, 1, "rolling", "failed", "why")
    listed = region.read(services.revision_list, service, 10, None)
    assert [(one.number, one.state) for one in listed] == [(1, "serving")]


def test_old_revisions_are_dropped_but_not_those_in_use(region: Services) -> None:
    service = region.add(region.spec())
    region.do(services.revision_move, service, 1, "rolling", "serving", None)
    by, run = region.users["one"], region.spec().run
    for number in range(2, REVISIONS_KEPT + 4):
        region.do(services.revision_add, service, number, run, T0_US, by)
        region.do(services.revision_move, service, number, "rolling", "retired", None)
    numbers = [one.number for one in region.read(services.revision_list, service, 1_000, None)]
    assert numbers == [*range(REVISIONS_KEPT + 3, 3, -1), 1]
    newest = region.read(services.revision_newest, service)
    assert newest.number == REVISIONS_KEPT + 3

    def below(connection: Any) -> Any:
        return services.revision_newest(connection, service, below=50, states=("serving",))

    assert region.read(below).number == 1
    page = region.read(services.revision_list, service, 2, 10)
    assert [one.number for one in page] == [9, 8]


def test_a_path_has_one_service(region: Services) -> None:
    one, two = region.add(region.spec("a")), region.add(region.spec("b"))
    path = f"/{region.projects['one']}/shop"
    spec = region.spec("a", route=RouteSpec(path=path))
    assert region.claim(one, spec) is None
    assert region.claim(one, spec) is None
    assert region.claim(two, spec) == path
    assert region.claim(two, region.spec("b")) is None
    assert region.claim(one, region.spec("a")) is None
    assert region.claim(two, spec) is None


def test_a_host_has_one_project_and_a_path_of_it_one_service(region: Services) -> None:
    one, two = region.add(region.spec("a")), region.add(region.spec("b"))
    other = region.add(region.spec("a"), organization="two")
    shop = RouteSpec(("shop.example", "www.example"), "/buy")
    assert region.claim(one, region.spec(route=shop)) is None
    assert region.claim(two, region.spec(route=RouteSpec(("shop.example",), "/sell"))) is None
    assert region.claim(two, region.spec(route=RouteSpec(("www.example",), "/buy"))) == "www.example/buy"
    elsewhere = RouteSpec(("www.example",), "/never-claimed")
    assert region.claim(other, region.spec(route=elsewhere), "two") == "www.example/never-claimed"
    claimed = {(row.host, row.path) for row in region.rows(schema.service_routes, service_id=two)}
    assert claimed == {("shop.example", "/sell")}


def test_deleting_frees_the_routes(region: Services) -> None:
    service = region.add(region.spec())
    assert region.claim(service, region.spec()) is None

    def work(connection: Any) -> None:
        row = services.service_lock(connection, service)
        assert row is not None
        services.service_delete(connection, row)

    region.do(work)
    assert region.rows(schema.service_routes) == []
    shown = region.show(service)
    assert (shown.state, shown.version) == ("deleting", 2)
    with pytest.raises(StaleState):
        region.do(work)


def test_a_replica_is_drained(region: Services) -> None:
    service = region.add(region.spec())
    replica = region.replica(service)

    def drain(connection: Any) -> None:
        row = services.replica_get(connection, service, replica)
        assert row is not None
        services.replica_drain(connection, row, T0_US, "stopped")

    region.do(drain)
    found = region.read(services.replica_list, service, 10, None)
    assert [(one.state, one.reason) for one in found] == [("draining", "stopped")]
    assert region.read(services.replica_get, region.add(region.spec("other")), replica) is None
    second = region.replica(service)
    assert [one.id for one in region.read(services.replica_list, service, 1, second)] == [replica]


def scaling(service: str, second: int, reason: dict[str, object]) -> dict[str, object]:
    return {
        "id": id_new(IdKind.SCALING),
        "service_id": service,
        "at_us": T0_US + second * S_US,
        "wanted": second,
        "ready": 1,
        "waiting": 2,
        "demand_milli": 3_250,
        "reason": json.dumps(reason),
        "digest": "0" * 64,
        "inputs": b"",
    }


def test_decisions_are_told_by_their_codes_oldest_first(region: Services) -> None:
    service = region.add(region.spec())
    reasons: list[dict[str, object]] = [
        {"code": "steady", "figures": {}},
        {"code": "forecast", "figures": {"forecast": 7.123456, "ahead_s": 2.0}},
        {"code": "of-tomorrow", "figures": {"x": 1}},
    ]
    for second, reason in enumerate(reasons):
        region.write(schema.scalings, scaling(service, second, reason))
    steps = region.read(services.scaling_list, service, 10)
    assert [{"code": step.code, "figures": step.figures} for step in steps] == reasons
    assert [step.wanted for step in steps] == [0, 1, 2]
    assert (steps[0].demand, steps[0].waiting) == (3.25, 2)
    assert [step.wanted for step in region.read(services.scaling_list, service, 2)] == [1, 2]


def test_two_planes_do_not_give_a_host_to_two_projects(postgres_url: str) -> None:
    first, second = Store(postgres_url), Store(postgres_url)
    region = Services(first)
    region.write(schema.region, {"one": 1, "name": "r", "cell": 0, "incarnation": "i", "created_us": T0_US})
    one, other = region.add(region.spec()), region.add(region.spec(), organization="two")

    def claim(store: Store, service: str, organization: str, path: str, then: Any = None) -> str | None:
        spec = region.spec(route=RouteSpec(("www.example",), path))

        def work(connection: Any) -> str | None:
            taken = services.routes_claim(connection, service, region.projects[organization], spec)
            if then is not None:
                then()
            return taken

        return store.transact_wait(None, work)

    with ThreadPoolExecutor(1) as pool:
        waiting: list[Any] = []

        def meanwhile() -> None:
            """The other plane asks while this one has not committed, and waits for it."""
            waiting.append(pool.submit(claim, second, other, "two", "/b"))
            for _ in range(100 * WAIT_S):
                if waiting[0].done() or second.read_wait(lambda c: c.execute(_WAITS).scalar_one()):
                    return
                wait(waiting, timeout=0.01)
            raise AssertionError("the second plane neither ended nor waits")

        assert claim(first, one, "one", "/a", meanwhile) is None
        assert waiting[0].result(WAIT_S) == "www.example/b"
    for store in (first, second):
        store.close()
