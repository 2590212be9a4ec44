"""Commit order is not id order: readers who follow the log's index miss nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor

from region_rows import T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.events import event_list_logged
from kumoi.store.log import LogBatch, log_append
from kumoi.store.writer import insert_many

WAIT_S = 30


def append(store: Store) -> LogBatch | None:
    return store.transact_wait(
        None,
        log_append,
        "kumoi.local/test",
        padding=lambda count: [bytes(32)] * count,
        sign=lambda size, root: f"{size} {root.hex()}",
        now_us=T0_US,
    )


class Reader:
    """Follows an organization's events as `Last-Event-ID` does."""

    def __init__(self, store: Store, region: RegionRows) -> None:
        self.seen: list[str] = []
        self._store = store
        self._organization = region.organizations["one"]
        self._after = -1

    def follow(self) -> None:
        while page := self._store.read_wait(event_list_logged, self._organization, self._after, 2):
            self.seen += [event.id for event in page]
            assert page[-1].log_index is not None
            self._after = page[-1].log_index


def test_a_transaction_that_commits_late_is_not_skipped(postgres_url: str) -> None:
    """The event made first is committed last: its id is below those that readers have seen already."""
    store, other = Store(postgres_url), Store(postgres_url)
    region = RegionRows(store)
    reader = Reader(store, region)
    late = region.event(made="first")
    written, finish = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        insert_many(connection, schema.events, [late])
        written.set()
        assert finish.wait(WAIT_S)

    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(other.transact_wait, None, write)
        assert written.wait(WAIT_S)
        early = [region.event(made="later", number=number) for number in range(5)]
        for event in early:
            region.write(schema.events, event)
        append(store)
        reader.follow()
        assert reader.seen == [event["id"] for event in early]
        assert late["id"] < early[0]["id"]
        finish.set()
        holding.result(WAIT_S)
    append(store)
    reader.follow()
    assert reader.seen == [*(event["id"] for event in early), late["id"]]
    other.close()
    store.close()


def test_readers_miss_nothing_while_many_write(store: Store, region: RegionRows) -> None:
    made: list[str] = []
    reader = Reader(store, region)

    def write(number: int) -> None:
        for _ in range(10):
            event = region.event(writer=number)
            region.write(schema.events, event)
            made.append(str(event["id"]))

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(4)]
        while not all(one.done() for one in writing):
            append(store)
            reader.follow()
        for one in writing:
            one.result(WAIT_S)
    append(store)
    reader.follow()
    assert sorted(reader.seen) == sorted(made)
    assert len(set(reader.seen)) == len(made)


def test_two_planes_that_append_at_once_give_each_index_once(postgres_url: str) -> None:
    stores = [Store(postgres_url) for _ in range(3)]
    region = RegionRows(stores[0])
    for number in range(20):
        region.write(schema.events, region.event(number=number))
    barrier = threading.Barrier(len(stores))

    def plane(store: Store) -> int:
        barrier.wait(WAIT_S)
        try:
            batch = append(store)
        except Exception:
            return 0
        return batch.events if batch else 0

    with ThreadPoolExecutor(len(stores)) as threads:
        placed = list(threads.map(plane, stores))
    append(stores[0])
    places = [row.log_index for row in region.rows(schema.events)]
    assert sum(placed) <= 20
    assert None not in places
    assert len(set(places)) == 20
    for store in stores:
        store.close()
