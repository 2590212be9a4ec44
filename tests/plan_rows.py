"""A plan for what a store's pool has and what waits there, as the placement loop makes one."""

from collections.abc import Sequence

from region_rows import T0_US
from sqlalchemy import Connection, select

from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.snapshot import Inputs, Plan, TaskView, inputs_digest
from kumoi.core.queue.prices import FREE, Prices
from kumoi.store import schema
from kumoi.store.placement import Decided
from kumoi.store.placement_read import PoolRead, pool_read, pool_view

SEED = 7


def pool_look(connection: Connection, pool_id: str, *, window: int = 100) -> PoolRead:
    """All of a pool, as the loop reads it the first time."""
    row = connection.execute(select(schema.pools).where(schema.pools.c.id == pool_id)).one()
    return pool_read(connection, pool_view(row), None, (), window=window, now_us=T0_US)


def waiting_of(read: PoolRead) -> list[TaskView]:
    """The tasks that were read, the highest priority first, as they were read otherwise."""
    tasks = [one.task for theirs in read.queues.waiting.values() for one in theirs]
    return sorted(tasks, key=lambda task: -task.priority)


def plan_decide(connection: Connection, pool_id: str, *, prices: Prices = FREE) -> Decided:
    """What placement decides now, on a base of its own."""
    read = pool_look(connection, pool_id)
    return read_decide(read, waiting_of(read), prices=prices)


def read_decide(read: PoolRead, tasks: Sequence[TaskView], *, prices: Prices = FREE) -> Decided:
    """A plan for these tasks."""
    base = read.base or ()
    placer = PoolPlacer(read.pool, "best_fit")
    placer.hosts_put(base)
    placed, refused = placer.place(tasks, T0_US)
    inputs = Inputs(read.pool, base, (), (), tuple(tasks), (), "best_fit", b"", T0_US, SEED)
    return Decided(
        plan=Plan("best_fit", SEED, T0_US, placed, refused),
        digest=inputs_digest("", inputs),
        inputs=inputs,
        generations={view.id: view.generation for view in base},
        tasks={task.id: task for task in tasks},
        prices=prices,
        base_id=None,
        previous_id=None,
    )
