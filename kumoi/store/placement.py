"""A plan, applied per host generation: what still holds is written, the rest is decided again."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, cast, delete, func, select, update

from kumoi.core.placement.snapshot import (
    START_WINDOW_S,
    STOP_MOST_S,
    Inputs,
    Placed,
    Plan,
    TaskView,
    inputs_pack,
)
from kumoi.core.queue.fairness import Amounts, amounts_of
from kumoi.core.queue.prices import Prices, price_microyen
from kumoi.model.ids import IdKind
from kumoi.model.jobs import HostLossPolicy
from kumoi.model.time import US_PER_S
from kumoi.store.budgets import budgets_charge
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.ids import id_new, ids_new
from kumoi.store.locks import rows_lock
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    devices,
    events,
    host_touches,
    hosts,
    jobs,
    plans,
    pools,
    tasks,
)
from kumoi.store.shares import quota_charges, quotas_charge, quotas_release
from kumoi.store.writer import Move, insert_many, move_many

START_WINDOW_US = START_WINDOW_S * US_PER_S
LEASE_US = 60 * US_PER_S
TOUCHES_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan on its way into the store, with what it was decided on.

    `base_id` and `previous_id` name the plans whose inputs come before these (see `core.placement.replay`);
    at a base both are empty.
    """

    plan: Plan
    digest: str
    inputs: Inputs
    generations: Mapping[str, int]
    tasks: Mapping[str, TaskView]
    prices: Prices
    base_id: str | None
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan: the tasks whose placements hold, and why others do not.

    `stale` are the hosts that had changed in between; `refused_organizations` those whose quotas or budgets
    would have been passed: of these nothing was placed.
    """

    plan_id: str
    task_ids: frozenset[str]
    stale: tuple[str, ...]
    refused_organizations: frozenset[str]

    @property
    def placed(self) -> int:
        """How many placements hold."""
        return len(self.task_ids)


ENDS_US = (
    func.coalesce(attempts.c.started_us, attempts.c.start_before_us)
    + cast(jobs.c.wall_time_s, BigInteger) * US_PER_S
    + STOP_MOST_S * US_PER_S
)
"""When a live attempt has ended at the latest. It may start as late as its window allows."""
_WAITING = (
    select(
        tasks.c.id,
        tasks.c.job_id,
        tasks.c.ordinal,
        tasks.c.state,
        jobs.c.organization_id,
        jobs.c.project_id,
        jobs.c.cpu_milli,
        jobs.c.memory_bytes,
        jobs.c.disk_bytes,
        jobs.c.on_host_lost,
        pools.c.engine,
    )
    .join(jobs, jobs.c.id == tasks.c.job_id)
    .join(pools, pools.c.id == jobs.c.pool_id)
    .where(
        tasks.c.id.in_(bindparam("ids", expanding=True)),
        tasks.c.state == "queued",
        jobs.c.state.in_(("queued", "running")),
        pools.c.state == "open",
    )
    .order_by(tasks.c.id)
    .with_for_update(of=tasks)
)
_NUMBERS = (
    select(attempts.c.task_id, func.max(attempts.c.number))
    .where(attempts.c.task_id.in_(bindparam("ids", expanding=True)))
    .group_by(attempts.c.task_id)
)
_HOST_ADVANCE = (
    update(hosts)
    .where(
        hosts.c.id == bindparam("of_id"),
        hosts.c.generation == bindparam("decided"),
        hosts.c.state == "schedulable",
        hosts.c.health == "up",
    )
    .values(generation=hosts.c.generation + 1)
)
_DEVICE_TAKE = (
    update(devices)
    .where(devices.c.id == bindparam("of_id"))
    .values(milli_used=devices.c.milli_used + bindparam("by_milli"))
)


def plan_apply(
    connection: Connection,
    decided: Decided,
    touches: Sequence[int] = (),
    *,
    epoch: int,
    now_us: int,
    cell: int,
) -> Applied:
    """Write the attempts of what still holds; the rest stays queued.

    A placement holds while its host's generation is the one that was decided on and its task still waits;
    a gang holds while all of it does. Nothing is started here: the attempts are the intent. `touches` are the
    notes of changed hosts that the plan took in.
    """
    touches_drop(connection, touches)
    plan = decided.plan
    current = _generations_current(connection, decided)
    waiting = _tasks_waiting(connection, decided)

    def holds(placed: Placed) -> bool:
        return placed.host_id in current and placed.task_id in waiting

    broken = {decided.tasks[placed.task_id].gang for placed in plan.placed if not holds(placed)}
    holding = [
        placed
        for placed in plan.placed
        if holds(placed)
        and (decided.tasks[placed.task_id].gang is None or decided.tasks[placed.task_id].gang not in broken)
    ]
    _devices_lock(connection, holding)
    refused = _charge(connection, decided, holding, now_us)
    holding = [placed for placed in holding if waiting[placed.task_id].organization_id not in refused]
    plan_id = id_new(IdKind.PLAN, cell)
    if holding:
        _placed_write(connection, plan_id, decided, holding, waiting, epoch=epoch, now_us=now_us, cell=cell)
    # Of all hosts that were advanced, whether or not anything was placed there in the end.
    host_touch(connection, current)
    stale = {placed.host_id for placed in plan.placed} - current
    task_ids = frozenset(placed.task_id for placed in holding)
    return Applied(plan_id, task_ids, tuple(sorted(stale)), frozenset(refused))


def _charge(connection: Connection, decided: Decided, holding: Sequence[Placed], now_us: int) -> set[str]:
    """Count what is about to be held against quotas and budgets; returns the organizations that may not."""
    amounts: defaultdict[str, Amounts] = defaultdict(Amounts)
    prices: Counter[str] = Counter()
    for placed in holding:
        task = decided.tasks[placed.task_id]
        wanted = amounts_of(task)
        amounts[task.organization_id] = amounts[task.organization_id].plus(wanted)
        prices[task.organization_id] += price_microyen(decided.prices, wanted, task.wall_time_s)
    over = quotas_charge(connection, quota_charges(amounts))
    within = {name: price for name, price in prices.items() if name not in over}
    broke = budgets_charge(connection, within, now_us)
    quotas_release(connection, quota_charges({name: amounts[name] for name in broke}))
    return over | broke


def touches_drop(connection: Connection, touch_ids: Sequence[int]) -> None:
    """Remove notes of changed hosts that placement has taken in."""
    for start in range(0, len(touch_ids), TOUCHES_PER_STATEMENT):
        part = touch_ids[start : start + TOUCHES_PER_STATEMENT]
        connection.execute(delete(host_touches).where(host_touches.c.id.in_(part)))


def _generations_current(connection: Connection, decided: Decided) -> set[str]:
    """Lock and advance the hosts of the plan that nobody changed since they were read."""
    current = set()
    for host_id in sorted({placed.host_id for placed in decided.plan.placed}):
        generation = decided.generations[host_id]
        advanced = connection.execute(_HOST_ADVANCE, {"of_id": host_id, "decided": generation}).rowcount
        if advanced == 1:
            current.add(host_id)
    return current


def _tasks_waiting(connection: Connection, decided: Decided) -> dict[str, AnyRow]:
    """Those tasks of the plan that still wait. Their jobs are locked first, as by a cancel."""
    task_ids = [placed.task_id for placed in decided.plan.placed]
    rows_lock(connection, jobs, jobs.c.id.in_({decided.tasks[task_id].job_id for task_id in task_ids}))
    return {row.id: row for row in connection.execute(_WAITING, {"ids": task_ids})}


def _devices_lock(connection: Connection, holding: Iterable[Placed]) -> None:
    """Devices come before quotas, as where attempts end."""
    device_ids = {device_id for placed in holding for device_id, _ in placed.devices}
    if device_ids:
        rows_lock(connection, devices, devices.c.id.in_(device_ids))


def _placed_write(
    connection: Connection,
    plan_id: str,
    decided: Decided,
    holding: Sequence[Placed],
    waiting: dict[str, AnyRow],
    *,
    epoch: int,
    now_us: int,
    cell: int,
) -> None:
    numbers = _attempt_numbers(connection, [placed.task_id for placed in holding])
    rows, event_rows, device_rows = [], [], []
    for attempt_id, placed in zip(ids_new(IdKind.ATTEMPT, len(holding), cell), holding, strict=True):
        task = waiting[placed.task_id]
        replace = task.on_host_lost == HostLossPolicy.REPLACE
        rows.append(
            {
                "id": attempt_id,
                "task_id": task.id,
                "job_id": task.job_id,
                "organization_id": task.organization_id,
                "project_id": task.project_id,
                "host_id": placed.host_id,
                "plan_id": plan_id,
                "candidates": placed.candidates,
                "engine": task.engine,
                "number": numbers.get(task.id, 0) + 1,
                "epoch": epoch,
                "cpu_milli": task.cpu_milli,
                "memory_bytes": task.memory_bytes,
                "disk_bytes": task.disk_bytes,
                "placed_us": now_us,
                "start_before_us": now_us + START_WINDOW_US,
                "lease_us": now_us + LEASE_US if replace else None,
            }
        )
        device_rows += [
            {"attempt_id": attempt_id, "device_id": device, "milli": milli}
            for device, milli in placed.devices
        ]
        event_rows.append(
            event_row(
                "attempt_place",
                at_us=now_us,
                actor=SYSTEM_ACTOR,
                resource=attempt_id,
                organization=task.organization_id,
                project=task.project_id,
                detail={
                    "job": task.job_id,
                    "task": task.ordinal,
                    "host": placed.host_id,
                    "plan": plan_id,
                    "inputs": decided.digest,
                },
            )
        )
    insert_many(connection, plans, [_plan_row(decided, plan_id)])
    insert_many(connection, attempts, rows)
    insert_many(connection, attempt_devices, device_rows)
    devices_take(connection, [pair for placed in holding for pair in placed.devices])
    insert_many(connection, events, event_rows)
    move_many(connection, [Move(tasks, placed.task_id, "queued", "active", {}) for placed in holding])
    connection.execute(
        update(jobs)
        .where(jobs.c.id.in_({row["job_id"] for row in rows}), jobs.c.state == "queued")
        .values(state="running", version=jobs.c.version + 1)
    )


def devices_take(connection: Connection, taken: Iterable[tuple[str, int]]) -> None:
    """Move what is held of devices, by id, in thousandths; below zero gives back."""
    rows = [{"of_id": device_id, "by_milli": milli} for device_id, milli in sorted(taken)]
    if rows:
        connection.execute(_DEVICE_TAKE, rows)


def _plan_row(decided: Decided, plan_id: str) -> dict[str, Any]:
    plan = decided.plan
    return {
        "id": plan_id,
        "pool_id": decided.inputs.pool.id,
        "decided_us": plan.decided_us,
        "policy": plan.policy,
        "seed": plan.seed,
        "snapshot_digest": decided.digest,
        "body": msgspec.json.encode({"placed": plan.placed, "refused": plan.refused}).decode(),
        "base_id": decided.base_id or plan_id,
        "previous_id": decided.previous_id,
        "inputs": inputs_pack(decided.inputs),
    }


def _attempt_numbers(connection: Connection, task_ids: Sequence[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(_NUMBERS, {"ids": list(task_ids)})}
