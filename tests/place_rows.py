"""Hosts and running work in a store, as loops write them."""

from typing import Any

from plane_fixture import Tenant, World

from kumoi.app.pools import pool_list
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.ids import id_new
from kumoi.store.jobs import spec_text
from kumoi.store.writer import Change

GIB = 1 << 30


def host_add(world: World, name: str, *, state: str = "schedulable", pool: str | None = None) -> str:
    """A host with one device, as the hosts loop registers them."""
    host_id = id_new(IdKind.HOST)
    row = {
        "id": host_id,
        "pool_id": pool or world.run(pool_list(world.plane, world.operator, 1, None)).items[0].id,
        "name": name,
        "state": state,
        "health": "up",
        "detail": "",
        "cpu_milli": 8_000,
        "memory_bytes": 16 * GIB,
        "failure_domain": name,
        "boot_id": "boot",
        "seen_us": world.clock_us,
    }
    device = {
        "id": id_new(IdKind.DEVICE),
        "host_id": host_id,
        "kind": "gpu",
        "uuid": f"GPU-{name}",
        "physical_uuid": f"GPU-{name}",
        "model": "H100",
        "ordinal": 0,
        "path": "/dev/gpu0",
    }
    world.run(world.plane.store.commit(Change([(schema.hosts, [row]), (schema.devices, [device])])))
    return host_id


def attempts_add(world: World, tenant: Tenant, host_id: str, *states: str) -> None:
    """A job with one task for each of `states`, each with an attempt in that state on the host."""
    project = tenant.project(f"work-{host_id[5:]}")
    job_id = id_new(IdKind.JOB)
    now_us = world.clock_us
    (host,) = world.plane.store.read_wait(
        lambda connection: connection.execute(schema.hosts.select().where(schema.hosts.c.id == host_id)).all()
    )
    job: dict[str, Any] = {
        "id": job_id,
        "organization_id": tenant.id,
        "project_id": project,
        "pool_id": host.pool_id,
        "name": "job",
        "spec": spec_text(JobSpec(command=("true",))),
        "state": "running",
        "array_size": len(states),
        "gang": False,
        "cpu_milli": 1_500,
        "memory_bytes": GIB,
        "devices": "[]",
        "priority": 0,
        "work_class": "standard",
        "on_host_lost": "wait",
        "created_us": now_us,
        "created_by": tenant.admin.id,
    }
    tasks, attempts = [], []
    for ordinal, state in enumerate(states):
        task_id = id_new(IdKind.TASK)
        tasks.append(
            {
                "id": task_id,
                "job_id": job_id,
                "ordinal": ordinal,
                "organization_id": tenant.id,
                "pool_id": host.pool_id,
                "priority": 0,
                "state": "active",
                "not_before_us": 0,
            }
        )
        attempts.append(
            {
                "id": id_new(IdKind.ATTEMPT),
                "task_id": task_id,
                "job_id": job_id,
                "organization_id": tenant.id,
                "project_id": project,
                "host_id": host_id,
                "plan_id": "plan",
                "engine": "fake",
                "number": 1,
                "candidates": 1,
                "state": state,
                "epoch": 1,
                "cpu_milli": 1_500,
                "memory_bytes": GIB,
                "placed_us": now_us,
                "start_before_us": now_us,
                "started_us": None if state == "placed" else now_us,
                "ended_us": now_us if state == "ended" else None,
                "outcome": "exited" if state == "ended" else None,
            }
        )
    inserts = [(schema.jobs, [job]), (schema.tasks, tasks), (schema.attempts, attempts)]
    world.run(world.plane.store.commit(Change(inserts)))
