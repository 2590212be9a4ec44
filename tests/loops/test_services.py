"""The services loop: demand becomes replicas, replicas become routes, whatever fails on the way."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loop_world import Clock, Fuse, FusedStore, Killed, check_consistent
from postgres_server import place_quick
from region_rows import RegionRows
from service_world import FakeGateway, ServiceWorld, region_of, run_spec, service_spec

from kumoi.core.autoscale.decide import decide
from kumoi.core.autoscale.inputs import inputs_digest, inputs_unpack
from kumoi.engines.base import EngineUnavailable
from kumoi.engines.fake import FakeEngine
from kumoi.loops.service_views import scale_rules
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.services import HealthCheck, ScalePolicy, ScaleSpec, Schedule
from kumoi.model.time import time_parse
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import ImpossibleState


@pytest.fixture
def plane(sqlite_store: Store) -> ServiceWorld:
    """A plane with a gateway and a host."""
    made = ServiceWorld(sqlite_store)
    made.activate("hosts")
    return made


def codes(plane: ServiceWorld, service_id: str) -> dict[str, dict[str, str]]:
    """The service's conditions: code -> parameters."""
    return {one["code"]: one["params"] for one in msgspec.json.decode(plane.service(service_id).conditions)}


def serving(plane: ServiceWorld, **scale: Any) -> str:
    """A service whose first revision serves."""
    service_id = plane.service_add(service_spec(**scale))
    plane.ticks(6)
    assert plane.service(service_id).revision == 1
    return service_id


def test_a_service_gets_its_replica_its_route_and_its_first_revision(plane: ServiceWorld) -> None:
    service_id = serving(plane)
    [replica] = plane.replicas(service_id)
    job = plane.job(replica.job_id)
    assert (replica.state, job.state, job.service_id) == ("ready", "running", service_id)
    assert replica.ready_us > replica.asked_us
    [route] = plane.gateway.table.services
    assert (route.id, route.path, route.hosts) == (service_id, f"/{plane.region.projects['one']}/web", ())
    assert [(one.id, one.endpoint.port, one.serving) for one in route.replicas] == [(replica.id, 8_000, True)]
    row = plane.service(service_id)
    assert (row.target, row.observed_generation, row.conditions) == (0, row.generation, "[]")


def test_replicas_follow_demand_and_drain_before_they_end(plane: ServiceWorld) -> None:
    service_id = serving(plane)
    for _ in range(5):
        plane.gateway.load(service_id, 12, waiting=2)
        plane.tick()
    plane.gateway.load(service_id, 0)
    grown = plane.states(service_id)[1, "ready"]
    assert grown >= 3
    for replica in plane.gateway.serving(service_id):
        plane.gateway.busy[replica.id] = 1
    plane.gateway.completed[service_id] += 0
    drained: list[Any] = []
    for _ in range(900):
        plane.tick()
        drained = [row for row in plane.replicas(service_id) if row.state == "draining"]
        if drained:
            break
    assert drained, "demand is gone, so are replicas"
    assert all(not one.serving for one in _routes(plane, {row.id for row in drained}))
    plane.ticks(3)
    assert {row.id for row in drained} <= {row.id for row in plane.replicas(service_id)}, "requests in flight"
    plane.gateway.busy.clear()
    plane.ticks(4)
    assert not {row.id for row in drained} & {row.id for row in plane.replicas(service_id)}


def _routes(plane: ServiceWorld, ids: set[str]) -> list[Any]:
    return [one for route in plane.gateway.table.services for one in route.replicas if one.id in ids]


def test_a_service_without_demand_scales_to_zero_and_wakes_at_the_first_request(plane: ServiceWorld) -> None:
    service_id = serving(plane, min_replicas=0)
    for _ in range(300):
        plane.tick()
        if not plane.replicas(service_id):
            break
    assert plane.replicas(service_id) == []
    assert plane.service(service_id).wanted == 0
    assert plane.engine.running() == []
    plane.gateway.arrived[service_id] += 1
    plane.gateway.waiting[service_id] = 1
    plane.clock.pass_s(0.01)
    plane.services()
    assert plane.states(service_id).keys() == {(1, "starting")}, "it wakes at once, not at the next look"
    asked_us = plane.clock()
    for name in ("jobs", "placement", "tasks"):
        plane.activate(name)
    plane.clock.pass_s(0.1)
    plane.services()
    plane.clock.pass_s(0.5)
    plane.services()
    replica = plane.replicas(service_id)[0]
    assert (replica.state, replica.asked_us, replica.ready_us) == ("ready", asked_us, asked_us + 600_000)
    scalings = plane.region.rows(schema.scalings, service_id=service_id)
    assert (scalings[-2].wanted, scalings[-1].waiting) == (0, 1)
    assert scalings[-1].wanted >= 1
    plane.gateway.waiting.clear()
    plane.tick()
    newest = inputs_unpack(plane.region.rows(schema.scalings, service_id=service_id)[-1].inputs)
    assert newest.seen.cold_start_ms is not None
    assert newest.seen.cold_start_ms >= 500


def test_every_recorded_decision_is_recomputed_from_its_row(plane: ServiceWorld) -> None:
    service_id = serving(plane, min_replicas=0)
    for number in range(40):
        plane.gateway.load(service_id, number % 7 * 3, waiting=number % 3)
        plane.tick()
    rows = plane.region.rows(schema.scalings, service_id=service_id)
    assert len(rows) > 3
    for row in rows:
        inputs = inputs_unpack(row.inputs)
        again = decide(inputs.rules, inputs.state, inputs.seen)
        reason = msgspec.json.decode(row.reason)
        assert (again.wanted, again.reason, dict(again.figures)) == (
            row.wanted,
            reason["code"],
            reason["figures"],
        )
        assert row.digest == inputs_digest(inputs)
        assert row.demand_milli == (inputs.seen.busy + inputs.seen.waiting) * 1_000


def test_a_new_revision_takes_over_and_the_old_one_serves_until_then(plane: ServiceWorld) -> None:
    service_id = serving(plane, pin=3)
    plane.ticks(4)
    plane.update(service_id, service_spec(run_spec(2, concurrency=7), pin=3))
    least = 3
    for _ in range(40):
        plane.tick()
        least = min(least, len(plane.gateway.serving(service_id)))
    assert least == 3
    assert plane.states(service_id) == {(2, "ready"): 3}
    revisions = {row.number: row.state for row in plane.region.rows(schema.revisions, service_id=service_id)}
    assert revisions == {1: "retired", 2: "serving"}
    assert plane.gateway.table.services[0].concurrency == 7
    actions = [msgspec.json.decode(row.canonical)["action"] for row in plane.region.rows(schema.events)]
    assert {"service_scale", "revision_serve", "revision_retire"} <= set(actions)


@pytest.mark.parametrize("broken", ["exits", "never opens", "no such image"])
def test_a_broken_revision_is_rolled_back_and_never_takes_the_service_down(
    plane: ServiceWorld, broken: str
) -> None:
    service_id = serving(plane, pin=2)
    plane.ticks(4)
    plane.exits |= {2} if broken == "exits" else set()
    plane.gateway.never_ready |= {2} if broken == "never opens" else set()
    if broken == "no such image":
        _refuse(plane, 2)
    spec = service_spec(run_spec(2, readiness=HealthCheck(path="/nope", start_timeout_s=5)), pin=2)
    plane.update(service_id, spec)
    told: set[str] = set()
    for _ in range(60):
        plane.tick()
        assert len(plane.gateway.serving(service_id)) >= 2
        told |= codes(plane, service_id).keys()
    row = plane.service(service_id)
    assert (row.revision, row.target, row.failures) == (1, 0, 0)
    assert plane.states(service_id) == {(1, "ready"): 2}
    assert told >= {"revision_failing", "revision_failed"}
    tried = [one for one in plane.replicas(service_id, live=False) if one.revision == 2]
    assert len(tried) == 3
    [failed] = [one for one in plane.region.rows(schema.revisions) if one.state == "failed"]
    why = {"exits": "exit code 1", "never opens": "not ready 5 s", "no such image": "no such image"}[broken]
    assert why in failed.reason
    given_up = codes(plane, service_id)["revision_failed"]
    assert why in given_up["why"]
    if broken == "no such image":
        assert (given_up["never_ran"], "replica" in given_up) == ("true", False)
    else:
        last = max(tried, key=lambda one: (one.ended_us, one.id))
        assert (given_up["service"], given_up["replica"]) == (plane.service(service_id).name, last.id)


def _refuse(plane: ServiceWorld, revision: int) -> None:
    original = plane.engine.ensure

    def ensure(specs: Any) -> Any:
        for spec in specs:
            if spec.environment["REVISION"] == str(revision):
                plane.engine.refuse(spec.ref, "there is no such image")
        return original(specs)

    plane.engine.ensure = ensure  # type: ignore[method-assign]


def test_an_old_revisions_replicas_are_checked_as_they_were(plane: ServiceWorld) -> None:
    service_id = serving(plane, pin=1)
    mistaken = HealthCheck(path="/nope")
    plane.gateway.never_ready.add(2)
    plane.update(service_id, service_spec(run_spec(2, readiness=mistaken), pin=1))
    plane.ticks(3)
    [route] = plane.gateway.table.services
    assert route.readiness == HealthCheck()
    checks = {one.revision: one.readiness for one in route.replicas}
    assert checks == {1: None, 2: mistaken}


def test_a_command_that_exits_at_once_backs_off_and_says_so(plane: ServiceWorld) -> None:
    plane.exits.add(1)
    service_id = plane.service_add(service_spec(pin=4))
    plane.ticks(4)
    told = codes(plane, service_id)
    assert told["revision_failing"]["why"] == "its command ended with exit code 1"
    assert plane.service(service_id).retry_us is not None
    plane.ticks(120, 10.0)
    tries = len(plane.replicas(service_id, live=False))
    assert tries <= 4 + 16
    plane.ticks(60, 10.0)
    assert len(plane.replicas(service_id, live=False)) - tries <= 3


def test_a_replica_that_dies_is_replaced_at_once(plane: ServiceWorld) -> None:
    service_id = serving(plane, pin=2)
    plane.ticks(6)
    [first, _] = plane.replicas(service_id)
    [ref] = plane.running(first.job_id)
    plane.engine.finish(ref, AttemptOutcome.SIGNALLED, signal=9)
    plane.activate("tasks")
    plane.services()
    assert plane.states(service_id) == {(1, "ready"): 1, (1, "starting"): 1}
    ended = next(row for row in plane.replicas(service_id, live=False) if row.id == first.id)
    assert (ended.state, ended.reason) == ("ended", "its command was ended by signal 9")


def test_a_replica_that_is_not_alive_is_replaced_and_serves_until_then(plane: ServiceWorld) -> None:
    service_id = serving(plane, pin=1)
    [first] = plane.replicas(service_id)
    plane.gateway.not_alive.add(first.id)
    plane.tick()
    assert "not_alive" in codes(plane, service_id)
    for _ in range(8):
        plane.tick()
        assert plane.gateway.serving(service_id)
    assert first.id not in {row.id for row in plane.replicas(service_id)}
    assert plane.states(service_id) == {(1, "ready"): 1}


def test_a_silent_gateway_leaves_replicas_as_they_are(plane: ServiceWorld) -> None:
    service_id = serving(plane, min_replicas=0)
    plane.gateway.silent = True
    before = plane.replicas(service_id)
    plane.ticks(400)
    assert [row.id for row in plane.replicas(service_id)] == [row.id for row in before]
    assert "gateway_silent" in codes(plane, service_id)
    plane.gateway.silent = False
    plane.gateway.epoch = "epoch-2"
    plane.tick()
    assert "gateway_silent" not in codes(plane, service_id)


def test_a_gateway_that_was_just_started_is_starting_and_not_silent(plane: ServiceWorld) -> None:
    plane.gateway.silent = plane.gateway.starting = True
    service_id = plane.service_add(service_spec(pin=1))
    plane.tick()
    assert codes(plane, service_id).keys() == {"gateway_starting"}
    plane.gateway.starting = False
    plane.tick()
    assert "gateway_silent" in codes(plane, service_id)


def test_a_gateway_that_began_anew_is_counted_from_its_start(plane: ServiceWorld) -> None:
    service_id = serving(plane)
    plane.gateway.load(service_id, 1_000_000)
    plane.gateway.epoch = "epoch-2"
    plane.gateway.arrived[service_id] = 5
    plane.gateway.completed[service_id] = 5
    plane.gateway.waiting[service_id] = 1
    plane.tick()
    rows = plane.region.rows(schema.scalings, service_id=service_id)
    assert inputs_unpack(rows[-1].inputs).seen.arrivals == 5


def test_an_engine_that_does_not_say_where_replicas_listen_takes_no_route_away(plane: ServiceWorld) -> None:
    service_id = serving(plane)
    table = plane.gateway.table
    plane.start(holder="second plane")
    plane.engine.fail_next(EngineUnavailable("away"), method="endpoints")
    plane.services()
    assert plane.gateway.table == table
    plane.services()
    assert plane.gateway.serving(service_id)
    assert plane.gateway.table.services == table.services


def test_an_engine_that_is_away_keeps_no_other_service_from_its_route(plane: ServiceWorld) -> None:
    first = serving(plane)
    second = plane.service_add(service_spec(), name="second")
    plane.services()
    for name in ("jobs", "placement", "tasks"):
        plane.activate(name)
    plane.engine.fail_next(EngineUnavailable("away"), method="endpoints")
    assert plane.services(), "it is asked again at once"
    assert [one.id for one in plane.gateway.table.services] == [first, second]
    assert plane.gateway.serving(first)


def test_one_broken_service_keeps_no_other_waiting(plane: ServiceWorld) -> None:
    broken = plane.service_add(service_spec(), name="aaa")
    plane.set(schema.services, broken, target=7)
    other = plane.service_add(service_spec())
    with pytest.raises(ImpossibleState, match="the revision 7"):
        plane.services()
    assert plane.states(other) == {(1, "starting"): 1}


def test_work_without_room_is_told(plane: ServiceWorld) -> None:
    plane.set(schema.pools, plane.region.pool, state="paused")
    service_id = plane.service_add(service_spec(pin=2))
    plane.ticks(8)
    told = codes(plane, service_id)
    assert told.keys() == {"waiting_for_capacity"}
    assert plane.replicas(service_id)[0].job_id == told["waiting_for_capacity"]["job"]


def test_a_deleted_service_ends_with_its_last_request(plane: ServiceWorld) -> None:
    service_id = serving(plane, pin=2)
    plane.ticks(4)
    busy = plane.gateway.serving(service_id)[0].id
    plane.gateway.busy[busy] = 1
    plane.delete(service_id)
    plane.ticks(5)
    assert plane.service(service_id).state == "deleting"
    assert [row.id for row in plane.replicas(service_id)] == [busy]
    assert plane.gateway.table.services[0].hosts == ("deleted.invalid",)
    plane.gateway.busy.clear()
    plane.ticks(4)
    row = plane.service(service_id)
    assert (row.state, row.deleted_us is not None) == ("deleted", True)
    assert plane.gateway.table.services == ()
    assert plane.engine.running() == []


def test_what_a_person_changes_while_it_is_looked_at_is_looked_at_again(plane: ServiceWorld) -> None:
    service_id = serving(plane)
    original = plane.context.store.transact_wait

    class Meddled:
        def __getattr__(self, name: str) -> Any:
            return getattr(plane.store, name)

        def transact_wait(self, fence: Any, work: Any, *args: Any, **kwargs: Any) -> Any:
            if work.__name__ == "service_write" and plane.service(service_id).state == "active":
                plane.delete(service_id)
            return original(fence, work, *args, **kwargs)

    plane.start(store=Meddled(), holder="second plane")
    plane.gateway.load(service_id, 40, waiting=9)
    plane.clock.pass_s(2)
    assert plane.services(), "there is more to do at once"
    assert plane.service(service_id).state == "deleting"
    assert len(plane.replicas(service_id)) == 1


def test_schedules_hold_by_the_wall_clock_of_their_place() -> None:
    weekdays = Schedule((0, 1, 2, 3, 4), 9 * 60, 18 * 60, 3, 8)
    night = Schedule((5,), 22 * 60, 1_440, 1, 2, "Europe/Berlin")
    scale = ScaleSpec(max_replicas=8, schedules=(weekdays, night), policy=ScalePolicy.TARGET)

    def least(at: str) -> list[int | None]:
        return [one.min_replicas for one in scale_rules(scale, 4, time_parse(at)).schedules]

    assert least("2026-11-23T08:59:59+09:00") == []
    assert least("2026-11-23T09:00:00+09:00") == [3]
    assert least("2026-11-23T17:59:59+09:00") == [3]
    assert least("2026-11-23T18:00:00+09:00") == []
    assert least("2026-11-28T12:00:00+09:00") == []
    assert least("2026-11-28T22:00:00+01:00") == [1]
    assert least("2026-11-29T00:00:00+01:00") == []


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kumoi-services-", dir=place_quick()) as name:
        yield Path(name)


class FusedWrites(FusedStore):
    """A store in which what the services loop writes may be the last thing that the plane does."""

    def transact_wait(self, fence: Any, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work.__name__ == "service_write":
            return super().transact_wait(fence, work, *args, **kwargs)
        return self._store.transact_wait(fence, work, *args, **kwargs)


class FusedGateway:
    """A gateway to which every new table may be the last thing that the plane does."""

    def __init__(self, gateway: FakeGateway, fuse: Fuse) -> None:
        self._gateway = gateway
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def publish(self, services: Any) -> int:
        def put() -> tuple[int, bool]:
            before = self._gateway.table.version
            return self._gateway.publish(services), self._gateway.table.version != before

        return int(self._fuse.call("gateway.publish", put))


LIFE = 22


def live(path: Path, facts: dict[str, Any], service_id: str, fuse: Fuse, *, twice: bool = False) -> Any:
    """A service's life: it grows, a broken and a good revision come, it sleeps, wakes, and is deleted."""
    store = Store(f"sqlite:///{path}")
    clock = Clock()
    plane = ServiceWorld(store, region=region_of(store, facts), engine=FakeEngine(clock), clock=clock)
    plane.exits.add(2)
    gateway: Any = FusedGateway(plane.gateway, fuse)
    plane.start(store=FusedWrites(store, fuse), engines={"fake": plane.engine})
    try:
        plane.activate("hosts")
        for second in range(LIFE + 12):
            _live_interfere(plane, service_id, second)
            for _ in range(3 if twice else 1):
                gateway = _services_or_die(plane, gateway)
            for name in ("jobs", "placement", "tasks"):
                plane.activate(name)
            plane.replicas_play()
            gateway = _services_or_die(plane, gateway)
            check_consistent(plane)
            _check_service(plane, service_id)
            clock.pass_s(1)
        row = plane.service(service_id)
        assert (row.state, plane.engine.running(), plane.replicas(service_id)) == ("deleted", [], [])
        assert {one.state for one in plane.region.rows(schema.jobs)} <= {"cancelled", "failed"}
        return fuse
    except Exception as error:
        died = fuse.calls[fuse.at - 1] if 0 < fuse.at <= len(fuse.calls) else "nowhere"
        error.add_note(f"killed {'after' if fuse.after else 'before'} call {fuse.at}, {died}")
        raise
    finally:
        store.close()


def _live_interfere(plane: ServiceWorld, service_id: str, second: int) -> None:
    match second:
        case 5:
            plane.update(service_id, service_spec(pin=3, watch_s=1))
        case 8:
            plane.update(service_id, service_spec(run_spec(2), pin=3, watch_s=1))
        case 12:
            plane.update(service_id, service_spec(run_spec(3), pin=2, watch_s=1))
        case 19:
            plane.update(service_id, service_spec(run_spec(3), pin=0, min_replicas=0, watch_s=1))
        case 21:
            plane.update(service_id, service_spec(run_spec(3), pin=1, watch_s=1))
        case _ if second == LIFE + 4:
            plane.delete(service_id)


def _services_or_die(plane: ServiceWorld, gateway: Any) -> Any:
    try:
        plane.services(gateway)
    except Killed:
        plane.start(holder="second plane")
        gateway = plane.gateway
        plane.services(gateway)
    return gateway


def _check_service(plane: ServiceWorld, service_id: str) -> None:
    rows = plane.replicas(service_id, live=False)
    jobs = {row.id for row in plane.region.rows(schema.jobs)}
    assert {row.job_id for row in rows} == jobs, "each replica is one job, each job one replica"
    live_rows = [row for row in rows if row.state not in ("draining", "ended")]
    assert len(live_rows) <= 3 + 1
    routed = {one.id for route in plane.gateway.table.services for one in route.replicas if one.serving}
    draining = {row.id for row in rows if row.state in ("draining", "ended")}
    assert not routed & draining, "what drains gets no requests"


def _prepared(directory: Path) -> tuple[Path, dict[str, Any], str]:
    path = directory / "first.db"
    store = Store(f"sqlite:///{path}")
    plane = ServiceWorld(store, region=RegionRows(store))
    service_id = plane.service_add(service_spec(pin=1, watch_s=1))
    facts = {name: value for name, value in vars(plane.region).items() if name != "store"}
    store.close()
    return path, facts, service_id


@pytest.mark.timeout(300)
def test_a_plane_killed_at_any_step_loses_and_duplicates_nothing(directory: Path) -> None:
    first, facts, service_id = _prepared(directory)

    def again(fuse: Fuse, **how: bool) -> Fuse:
        path = directory / f"run-{fuse.at}-{fuse.after}.db"
        shutil.copyfile(first, path)
        live(path, facts, service_id, fuse, **how)
        for left in directory.glob(f"{path.name}*"):
            left.unlink()
        return fuse

    whole = again(Fuse())
    died_at = {whole.calls[at - 1] for at in whole.effective}
    assert died_at == {"store.service_write", "gateway.publish"}
    for at in whole.effective:
        again(Fuse(at, after=True))
    # What a death before a call leaves, one after the last effective call leaves, too: tried for the first.
    for at in whole.effective[:3]:
        again(Fuse(at))


def test_a_look_that_is_repeated_changes_nothing(directory: Path) -> None:
    first, facts, service_id = _prepared(directory)
    live(first, facts, service_id, Fuse(), twice=True)


def test_what_was_deleted_is_dropped_when_its_time_is_over(plane: ServiceWorld) -> None:
    gone, stays = serving(plane), plane.service_add(service_spec(), name="stays")
    plane.ticks(6)
    plane.delete(gone)
    plane.ticks(4)
    assert plane.service(gone).state == "deleted"
    plane.clock.pass_s(31 * 86_400)
    plane.activate("retention")
    assert {row.service_id for row in plane.region.rows(schema.scalings)} == {stays}
    assert plane.service(gone).state == "deleted", "its jobs are still kept"
    plane.clock.pass_s(400 * 86_400)
    plane.activate("retention")
    plane.activate("retention")
    assert [row.id for row in plane.region.rows(schema.services)] == [stays]
    assert plane.region.rows(schema.revisions, service_id=gone) == []
