"""However many ask why their jobs wait, a pool is read by one at a time, and for all of them."""

import asyncio

import pytest
from place_rows import host_add
from plane_fixture import World

from kumoi.app import pool_looks
from kumoi.app.pool_looks import KEPT_MOST_S, PoolLooks
from kumoi.core.placement.snapshot import HostView, TaskView
from kumoi.model.errors import Unavailable
from kumoi.store import schema
from kumoi.store.database import Connection
from kumoi.store.placement_read import hosts_of_pool

TASK = TaskView("task", "job", "org", 1_000, 1)
LARGE = TaskView("large", "job", "org", 1_000_000, 1)
READ_S = 0.5


class Reads:
    """The reads of pools; each takes half a second of the clock."""

    def __init__(self) -> None:
        self.pools: list[str] = []
        self.now_s = 0.0

    def hosts_of_pool(self, connection: Connection, pool_id: str) -> list[HostView]:
        self.pools.append(pool_id)
        self.now_s += READ_S
        return hosts_of_pool(connection, pool_id)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    made = Reads()
    monkeypatch.setattr(pool_looks, "hosts_of_pool", made.hosts_of_pool)
    return made


def pool_of_host(world: World, name: str) -> str:
    host = host_add(world, name)

    def find(connection: Connection) -> str:
        hosts = schema.hosts
        return str(connection.execute(hosts.select().where(hosts.c.id == host)).one().pool_id)

    pool: str = world.plane.store.read_wait(find)
    return pool


def test_all_who_ask_share_one_read(world: World, reads: Reads) -> None:
    pool = pool_of_host(world, "one")
    looks = PoolLooks(world.plane.store, lambda: reads.now_s)

    async def many() -> list[bool]:
        answers = await asyncio.gather(*[looks.ask(pool, (TASK, LARGE), 0) for _ in range(20)])
        return [[refused.task_id for refused in answer] == ["large"] for answer in answers]

    assert world.run(many()) == [True] * 20
    assert reads.pools == [pool]


def test_a_pool_is_kept_as_long_as_its_read_was_dear(world: World, reads: Reads) -> None:
    pool = pool_of_host(world, "one")
    looks = PoolLooks(world.plane.store, lambda: reads.now_s)
    for now_s, times in ((0.0, 1), (READ_S + 9.9, 1), (READ_S + 10.0, 2)):
        reads.now_s = now_s
        world.run(looks.ask(pool, (TASK,), 0))
        assert len(reads.pools) == times
    reads.now_s += KEPT_MOST_S
    world.run(looks.ask(pool, (TASK,), 0))
    assert len(reads.pools) == 3


def test_who_cannot_have_a_turn_is_told_so(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_looks, "WAIT_S", 0.0)
    pool = pool_of_host(world, "one")
    looks = PoolLooks(world.plane.store, lambda: reads.now_s)

    async def two() -> list[object]:
        return await asyncio.gather(*[looks.ask(pool, (TASK,), 0) for _ in range(2)], return_exceptions=True)

    first, second = world.run(two())
    assert first == ()
    assert isinstance(second, Unavailable)
    assert str(second)
    assert world.run(looks.ask(pool, (TASK,), 0)) == ()
