"""What the services loop writes: all of it or nothing, on each kind of database."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from loop_world import Clock
from region_rows import T0_US, RegionRows
from service_world import ServiceWorld, run_spec, service_spec

from kumoi.core.rollout import RevisionMove, Steps
from kumoi.core.rollout_replicas import ReplicaMove
from kumoi.model.jobs import SPEC_DECODER, WALL_TIME_S_MAX, JobSpec
from kumoi.store import replicas, schema
from kumoi.store.database import Store
from kumoi.store.errors import ImpossibleState, StaleState
from kumoi.store.replicas import Scaling, ServiceRead, ServiceWrite, service_write, services_load

NOTHING = Steps(revision=0, target=1, failures=0, retry_us=None)


@pytest.fixture
def world(store: Store) -> ServiceWorld:
    """A region with services to be looked at."""
    return ServiceWorld(store, region=RegionRows(store), clock=Clock())


def load(world: ServiceWorld) -> list[ServiceRead]:
    return list(world.store.read_wait(services_load, "", 10))


def write(world: ServiceWorld, read: ServiceRead, steps: Steps, **more: Any) -> None:
    values: dict[str, Any] = {"wanted": 2, "conditions": "[]"} | more
    world.store.transact_wait(None, service_write, ServiceWrite(read, steps, **values), world.clock(), 0)


def scaling(at_us: int = 1) -> Scaling:
    return Scaling(at_us, 1, 0, 500, '{"code":"steady","figures":{}}', "0" * 64, b"inputs", b"scaler")


def test_starts_become_replicas_each_with_its_job(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec(run_spec(concurrency=9)))
    [read] = load(world)
    assert (read.row.id, [one.number for one in read.revisions], read.replicas) == (service_id, [1], ())
    assert [one.path for one in read.routes] == [f"/{world.region.projects['one']}/web"]
    write(world, read, replace(NOTHING, starts=((1, 3),)))
    [read] = load(world)
    assert [(one.row.state, one.row.revision, one.attempt) for one in read.replicas] == [
        ("starting", 1, None)
    ] * 3
    for one in read.replicas:
        job = world.job(one.row.job_id)
        spec = SPEC_DECODER.decode(job.spec)
        assert (job.state, job.service_id, job.array_size) == ("pending", service_id, 1)
        assert (spec.port, spec.retries.limit, spec.resources.wall_time_s) == (8_000, 0, WALL_TIME_S_MAX)
    assert (read.row.wanted, read.row.observed_generation) == (2, read.row.generation)
    last = msgspec.json.decode(world.region.rows(schema.events)[-1].canonical)
    assert (last["action"], last["resource"]) == ("service_scale", service_id)
    assert last["detail"] == {"wanted": 2, "started": 3, "drained": 0}


def test_a_replica_knows_how_many_live_on_its_host(world: ServiceWorld) -> None:
    world.service_add(service_spec())
    write(world, load(world)[0], replace(NOTHING, starts=((1, 3),)))
    quiet, busy = world.region.host_add("quiet"), world.region.host_add("busy")
    jobs = [one.row.job_id for one in load(world)[0].replicas]
    world.region.attempt_add(jobs[0], quiet)
    world.region.attempt_add(jobs[1], busy)
    other = world.region.job_add(JobSpec(("/bin/true",)))
    world.region.attempt_add(other, busy)
    over = world.region.job_add(JobSpec(("/bin/true",)))
    world.region.attempt_add(over, busy, state="ended", ended_us=T0_US + 1, outcome="exited")
    assert [one.neighbours for one in load(world)[0].replicas] == [1, 2, 0]


def test_moves_keep_their_times_and_stops_cancel_the_job(world: ServiceWorld) -> None:
    world.service_add(service_spec())
    write(world, load(world)[0], replace(NOTHING, starts=((1, 2),)))
    [read] = load(world)
    first, second = (one.row.id for one in read.replicas)
    world.clock.pass_s(3)
    moves = (
        ReplicaMove(first, "starting", "ready"),
        ReplicaMove(second, "starting", "draining", "not needed"),
    )
    write(world, read, replace(NOTHING, moves=moves, stops=(second,)), busy={first: 4})
    [read] = load(world)
    ready, draining = (one.row for one in read.replicas)
    assert (ready.state, ready.ready_us - ready.asked_us, ready.busy) == ("ready", 3_000_000, 4)
    assert (draining.state, draining.drain_us, draining.reason) == ("draining", world.clock(), "not needed")
    assert (draining.job_state, ready.job_state) == ("cancelled", "pending")
    assert world.store.read_wait(replicas.cold_starts, read.row.id, 5) == [3_000_000]
    back = (ReplicaMove(first, "ready", "unready"),)
    write(world, read, replace(NOTHING, moves=back))
    world.clock.pass_s(3)
    again = (ReplicaMove(first, "unready", "ready"), ReplicaMove(second, "draining", "ended"))
    write(world, load(world)[0], replace(NOTHING, moves=again))
    [read] = load(world)
    assert [one.row.ready_us for one in read.replicas] == [ready.ready_us], "the first time counts"
    ended = world.region.rows(schema.replicas, id=second)[0]
    assert (ended.state, ended.ended_us, ended.reason) == ("ended", world.clock(), "not needed")


def test_a_revision_takes_over_in_one_transaction(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec())
    serve = (RevisionMove(1, "rolling", "serving"),)
    write(world, load(world)[0], replace(NOTHING, revision=1, target=0, revisions=serve))
    world.update(service_id, service_spec(run_spec(2)))
    [read] = load(world)
    assert (read.row.revision, read.row.target, [one.state for one in read.revisions]) == (
        1,
        2,
        ["serving", "rolling"],
    )
    moves = (RevisionMove(1, "serving", "retired", "replaced"), RevisionMove(2, "rolling", "serving"))
    write(world, read, replace(NOTHING, revision=2, target=0, revisions=moves))
    [read] = load(world)
    assert (read.row.revision, read.row.target, [one.number for one in read.revisions]) == (2, 0, [2])


def test_what_somebody_changed_meanwhile_is_not_overwritten(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec())
    [read] = load(world)
    world.update(service_id, service_spec(max_replicas=5))
    before = world.service(service_id)
    with pytest.raises(StaleState, match=service_id):
        write(world, read, replace(NOTHING, starts=((1, 2),)), scaling=scaling())
    assert world.service(service_id) == before
    assert world.replicas(service_id) == []
    assert world.region.rows(schema.scalings) == []


def test_a_replica_that_moved_meanwhile_undoes_all_of_it(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec())
    write(world, load(world)[0], replace(NOTHING, starts=((1, 1),)))
    [read] = load(world)
    [one] = read.replicas
    world.set(schema.replicas, one.row.id, state="draining", drain_us=1)
    moves = (ReplicaMove(one.row.id, "starting", "ready"),)
    with pytest.raises(StaleState):
        write(world, read, replace(NOTHING, moves=moves, starts=((1, 5),)))
    assert len(world.replicas(service_id)) == 1


def test_a_revision_that_does_not_exist_starts_nothing(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec())
    with pytest.raises(ImpossibleState, match="revision 9"):
        write(world, load(world)[0], replace(NOTHING, starts=((9, 1),)))
    assert world.replicas(service_id) == []


def test_scalings_are_kept_up_to_a_number(world: ServiceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "SCALINGS_KEPT", 5)
    service_id = world.service_add(service_spec())
    other = world.service_add(service_spec(), name="other")
    write(world, load(world)[1], NOTHING, scaling=scaling(999))
    for number in range(8):
        write(world, load(world)[0], NOTHING, scaling=scaling(number))
    rows = world.region.rows(schema.scalings, service_id=service_id)
    assert [row.at_us for row in rows] == [3, 4, 5, 6, 7]
    assert len(world.region.rows(schema.scalings, service_id=other)) == 1
    assert (world.service(service_id).scaler, world.service(service_id).scaler_at_us) == (b"scaler", 7)
    found = world.store.read_wait(replicas.scaling_get, rows[0].id)
    assert (found.service_id, found.project_id) == (service_id, world.region.projects["one"])


def test_a_deleted_service_is_over_once_and_read_no_more(world: ServiceWorld) -> None:
    service_id = world.service_add(service_spec())
    world.delete(service_id)
    [read] = load(world)
    assert read.routes == ()
    write(world, read, replace(NOTHING, is_over=True))
    row = world.service(service_id)
    assert (row.state, row.deleted_us) == ("deleted", world.clock())
    assert load(world) == []
    with pytest.raises(StaleState):
        write(world, read, replace(NOTHING, is_over=True))


def test_services_are_read_in_pages(world: ServiceWorld) -> None:
    ids = [world.service_add(service_spec(), name=f"web-{number}") for number in range(5)]
    first = world.store.read_wait(services_load, "", 3)
    rest = world.store.read_wait(services_load, first[-1].row.id, 3)
    assert [one.row.id for one in (*first, *rest)] == ids
