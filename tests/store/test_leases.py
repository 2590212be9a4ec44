"""Leases and fences: one plane at a time, by the database's clock, and a late writer writes nothing."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from region_rows import RegionRows
from sqlalchemy import Connection, text

from kumoi.store import database, schema
from kumoi.store.database import Store, database_now_us
from kumoi.store.errors import FenceLost, StoreBusy
from kumoi.store.leases import FOREVER_US, leases_hold, leases_release
from kumoi.store.writer import Fence

NAMES = ("jobs", "placement")
TTL_US = 60_000_000
WAIT_S = 30


def hold(store: Store, holder: str, ttl_us: int | None = TTL_US) -> dict[str, int]:
    return store.transact_wait(None, leases_hold, NAMES, holder, ttl_us)


def expire(store: Store, ago_us: int = 1_000_000) -> None:
    """Let every lease run out, by the database's clock."""

    def work(connection: Connection) -> None:
        now_us = database_now_us(connection)
        connection.execute(schema.leases.update(), {"expires_us": now_us - ago_us})

    store.transact_wait(None, work)


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """A second plane on the same database; on SQLite, where there can be none, the same one."""
    if store.is_sqlite:
        yield store
        return
    opened = Store(store.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def test_the_first_plane_takes_every_lease(store: Store) -> None:
    assert hold(store, "a") == {"jobs": 1, "placement": 1}


def test_a_lease_is_renewed_under_its_epoch(store: Store) -> None:
    hold(store, "a")
    before = store.read_wait(lambda connection: connection.execute(schema.leases.select()).all())
    assert hold(store, "a") == {"jobs": 1, "placement": 1}
    after = store.read_wait(lambda connection: connection.execute(schema.leases.select()).all())
    assert [row.expires_us for row in after] >= [row.expires_us for row in before]


def test_a_held_lease_is_not_taken(store: Store, other: Store) -> None:
    hold(store, "a")
    assert hold(other, "b") == {}
    assert hold(store, "a") == {"jobs": 1, "placement": 1}


def test_a_lease_is_taken_only_after_it_ran_out(store: Store, other: Store) -> None:
    hold(store, "a")
    expire(store, ago_us=-2_000_000)
    assert hold(other, "b") == {}, "two seconds are left"
    expire(store)
    assert hold(other, "b") == {"jobs": 2, "placement": 2}
    assert hold(store, "a") == {}


def test_only_the_clock_of_the_database_counts(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(store, "a")
    for clock in ("time", "time_ns", "monotonic"):
        original = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda original=original: original() * 2)
    assert hold(other, "b") == {}


def test_the_clock_of_the_database_is_in_microseconds_utc(store: Store) -> None:
    before_us = time.time_ns() // 1_000
    now_us = store.read_wait(database_now_us)
    after_us = time.time_ns() // 1_000
    assert before_us - 2_000 <= now_us <= after_us + 2_000


def test_a_holder_that_comes_back_in_time_keeps_its_epoch(store: Store) -> None:
    hold(store, "a")
    expire(store)
    assert hold(store, "a") == {"jobs": 1, "placement": 1}


def test_released_leases_are_free_at_once(store: Store, other: Store) -> None:
    hold(store, "a")
    store.transact_wait(None, leases_release, "b")
    assert hold(other, "b") == {}
    store.transact_wait(None, leases_release, "a")
    assert hold(other, "b") == {"jobs": 2, "placement": 2}


def test_each_start_of_a_lone_plane_gets_new_epochs(store: Store) -> None:
    assert hold(store, "first", None) == {"jobs": 1, "placement": 1}
    assert hold(store, "second", None) == {"jobs": 2, "placement": 2}
    rows = store.read_wait(lambda connection: connection.execute(schema.leases.select()).all())
    assert {(row.holder, row.expires_us) for row in rows} == {("second", FOREVER_US)}


def test_planes_that_start_at_once_share_the_leases_out(postgres_url: str) -> None:
    stores = [Store(postgres_url) for _ in range(4)]
    barrier = threading.Barrier(len(stores))

    def start(number: int) -> dict[str, int]:
        barrier.wait(WAIT_S)
        return hold(stores[number], f"plane-{number}")

    with ThreadPoolExecutor(len(stores)) as threads:
        held = list(threads.map(start, range(len(stores))))
    assert sorted(name for one in held for name in one) == sorted(NAMES)
    assert {epoch for one in held for epoch in one.values()} == {1}
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "fence",
    [Fence("jobs", "a", 1), Fence("jobs", "b", 1), Fence("jobs", "a", 2), Fence("x", "b", 2)],
    ids=str,
)
def test_a_stale_fence_writes_nothing(store: Store, region: RegionRows, fence: Fence) -> None:
    hold(store, "a")
    expire(store)
    hold(store, "b")
    ran: list[int] = []
    with pytest.raises(FenceLost):
        store.transact_wait(fence, lambda _connection: ran.append(1))
    assert ran == []


def test_a_current_fence_writes(store: Store, region: RegionRows) -> None:
    hold(store, "a")
    statement = schema.pools.update().where(schema.pools.c.id == region.pool)
    fence = Fence("jobs", "a", 1)
    store.transact_wait(fence, lambda connection: connection.execute(statement, {"name": "renamed"}))
    assert region.rows(schema.pools)[0].name == "renamed"


def test_a_fenced_write_under_way_ends_before_the_lease_changes_hands(postgres_url: str) -> None:
    store, other = Store(postgres_url), Store(postgres_url)
    region = RegionRows(store)
    hold(store, "a")
    expire(store)
    inside, finish = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        inside.set()
        assert finish.wait(WAIT_S)
        connection.execute(schema.pools.update(), {"name": "renamed"})

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(store.transact_wait, Fence("jobs", "a", 1), write)
        assert inside.wait(WAIT_S)
        taking = threads.submit(hold, other, "b")
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while not store.read_wait(lambda connection: connection.execute(waiting).scalar_one()):
            threading.Event().wait(0.005)
        assert not taking.done()
        finish.set()
        writing.result(WAIT_S)
        assert taking.result(WAIT_S) == {"jobs": 2, "placement": 2}
    assert region.rows(schema.pools)[0].name == "renamed"
    other.close()
    store.close()


FROZEN = """
import sys
from kumoi.store import database
database.IDLE_IN_TRANSACTION_S = float(sys.argv[2])
from kumoi.store.database import Store
from kumoi.store.errors import StoreError
from kumoi.store.leases import leases_hold
from kumoi.store.schema import pools
from kumoi.store.writer import Fence

store = Store(sys.argv[1])
store.transact_wait(None, leases_hold, ("jobs", "placement"), "frozen", 1)

def work(connection):
    connection.execute(pools.update(), {"name": "written late"})
    print("inside", flush=True)
    sys.stdin.readline()
    connection.execute(pools.update(), {"name": "written late"})

try:
    store.transact_wait(Fence("jobs", "frozen", 1), work)
    print("committed", flush=True)
except StoreError as error:
    print(type(error).__name__, flush=True)
"""


def test_a_plane_frozen_in_a_transaction_does_not_block_the_others_for_ever(postgres_url: str) -> None:
    store = Store(postgres_url)
    region = RegionRows(store)
    command = [sys.executable, "-c", FROZEN, postgres_url, "1"]
    frozen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert frozen.stdout is not None
    assert frozen.stdout.readline() == "inside\n"
    deadline_s = time.monotonic() + WAIT_S
    taken: dict[str, int] = {}
    while not taken and time.monotonic() < deadline_s:
        try:
            taken = hold(store, "other")
        except StoreBusy:
            continue
    assert taken == {"jobs": 2, "placement": 2}
    assert frozen.communicate("go on\n", timeout=WAIT_S)[0] == "StoreBusy\n"
    assert region.rows(schema.pools)[0].name == "default", "nothing of the frozen plane was written"
    store.close()


def test_postgresql_ends_what_takes_too_long(postgres_url: str) -> None:
    store = Store(postgres_url)
    expected = {
        "lock_timeout": f"{database.LOCK_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{database.IDLE_IN_TRANSACTION_S}s",
        "statement_timeout": f"{database.BUSY_TIMEOUT_S}s",
        "synchronous_commit": "on",
    }
    for setting, value in expected.items():
        show = text(f"SHOW {setting}")
        for ask in (store.read_wait, lambda work: store.transact_wait(None, work)):
            assert ask(lambda connection, show=show: connection.execute(show).scalar_one()) == value
    store.close()


def test_a_lock_that_is_not_given_makes_the_store_busy(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    store, other = Store(postgres_url), Store(postgres_url)
    region = RegionRows(store)
    statement = schema.pools.update().where(schema.pools.c.id == region.pool)

    def write(connection: Connection, name: str) -> None:
        connection.execute(statement, {"name": name})
        if name == "first":
            with pytest.raises(StoreBusy):
                other.transact_wait(None, write, "second")

    store.transact_wait(None, write, "first")
    assert region.rows(schema.pools)[0].name == "first"
    other.close()
    store.close()
