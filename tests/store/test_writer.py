"""The writer: shared commits, all or nothing per change, keys, moves, and its bounds."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from region_rows import T0_US, RegionRows
from sqlalchemy import Connection, create_engine, event, select, text

from kumoi.core.lifecycles import LIFECYCLES
from kumoi.model.idempotency import NO_PROJECT, IdempotencyKey, Written
from kumoi.model.jobs import JobSpec
from kumoi.store import schema, writer
from kumoi.store.database import Store
from kumoi.store.errors import (
    DuplicateRow,
    ImpossibleState,
    KeyReused,
    MissingReference,
    StaleState,
    StoreBusy,
)
from kumoi.store.jobs import job_get
from kumoi.store.writer import Change, Move, Writer, change_apply

SPEC = JobSpec(command=("true",))
WAIT_S = 30


def key(name: str = "k", digest: bytes = bytes(32), **scope: str) -> IdempotencyKey:
    parts = {"actor_id": "usr", "project_id": NO_PROJECT, "route": "POST /jobs"} | scope
    return IdempotencyKey(**parts, key=name, digest=digest)


def job_change(region: RegionRows, **more: Any) -> tuple[str, Change]:
    row = region.job_row(SPEC)
    return str(row["id"]), Change([(schema.jobs, [row])], **more)


@contextmanager
def held(store: Store) -> Iterator[ThreadPoolExecutor]:
    """The writer waits while the block runs, so what is submitted in it gathers."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_connection: Connection) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(64) as threads:
        blocker = threads.submit(store.transact_wait, None, wait)
        assert begun.wait(WAIT_S)
        try:
            yield threads
        finally:
            go_on.set()
        blocker.result(WAIT_S)


def queued(store: Store, threads: ThreadPoolExecutor, changes: list[Change]) -> list["Future[Written]"]:
    """Submit the changes from threads of their own and wait until all of them are in the queue."""
    waiting = store._writer._queue
    already = waiting.qsize()
    futures = []
    for number, change in enumerate(changes, 1):
        futures.append(threads.submit(store.commit_wait, change))
        while waiting.qsize() < already + number:
            threading.Event().wait(0.001)
    return futures


@contextmanager
def commits(store: Store) -> Iterator[list[str]]:
    """The commits of the writer while the block runs."""
    seen: list[str] = []

    def note(_connection: Connection) -> None:
        seen.append("commit")

    event.listen(store._write_engine, "commit", note)
    yield seen
    event.remove(store._write_engine, "commit", note)


def job_exists(store: Store, job_id: str) -> bool:
    return store.read_wait(job_get, job_id) is not None


def test_concurrent_submissions_share_a_commit(store: Store, region: RegionRows) -> None:
    made = [job_change(region) for _ in range(50)]
    with commits(store) as seen:
        with held(store) as threads:
            futures = queued(store, threads, [change for _, change in made])
        assert [future.result(WAIT_S) for future in futures] == [Written(204, b"")] * 50
    assert len(seen) == 2, "the one that held the writer, and one for all that gathered"
    assert all(job_exists(store, job_id) for job_id, _ in made)


def test_coroutines_share_a_commit(store: Store, region: RegionRows) -> None:
    made = [job_change(region) for _ in range(50)]

    async def submit() -> list[Written]:
        return await asyncio.gather(*(store.commit(change) for _, change in made))

    with commits(store) as seen:
        answers = asyncio.run(submit())
    assert answers == [Written(204, b"")] * 50
    assert len(seen) < 10
    assert all(job_exists(store, job_id) for job_id, _ in made)


def test_a_change_that_fails_does_not_hurt_those_beside_it(store: Store, region: RegionRows) -> None:
    good = [job_change(region) for _ in range(6)]
    duplicate = Change([(schema.jobs, [region.job_row(SPEC, id=good[0][0])])])
    orphan = Change([(schema.jobs, [region.job_row(SPEC, project_id="prj_none")])])
    impossible = Change([(schema.jobs, [region.job_row(SPEC, state="odd")])])
    stale = Change(moves=[Move(schema.pools, region.pool, "paused", "open", {})])
    changes = [change for _, change in good]
    changes[3:3] = [duplicate, orphan, impossible, stale]
    with held(store) as threads:
        futures = queued(store, threads, changes)
    failures = [type(future.exception(WAIT_S)) for future in futures]
    expected: list[type] = [type(None)] * 10
    expected[3:7] = [DuplicateRow, MissingReference, ImpossibleState, StaleState]
    assert failures == expected
    assert all(job_exists(store, job_id) for job_id, _ in good)


def test_a_change_is_written_whole_or_not_at_all(store: Store, region: RegionRows) -> None:
    job_id, change = job_change(region, key=key())
    for broken in (
        replace(change, inserts=[*change.inserts, (schema.events, [{**region.event(), "salt": None}])]),
        replace(change, moves=[Move(schema.pools, region.pool, "paused", "open", {})]),
    ):
        with pytest.raises((ImpossibleState, StaleState)):
            store.commit_wait(broken)
    assert not job_exists(store, job_id)
    assert region.rows(schema.idempotency_keys) == []
    assert store.commit_wait(change) == change.answer


def test_an_answer_comes_after_its_commit(store: Store, region: RegionRows) -> None:
    job_id, change = job_change(region)
    found: list[bool] = []

    def look(_connection: Connection) -> None:
        found.append(job_exists(store, job_id) or future.done())

    event.listen(store._write_engine, "commit", look)
    with held(store) as threads:
        future = queued(store, threads, [change])[0]
    future.result(WAIT_S)
    event.remove(store._write_engine, "commit", look)
    assert found == [False, False], "before its commit a change is neither seen nor answered"
    assert job_exists(store, job_id)


def test_a_failed_commit_is_not_answered_as_done(
    store: Store, region: RegionRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, change = job_change(region)

    def fail(_connection: Connection) -> None:
        raise OSError("no space left on device")

    event.listen(store._write_engine, "commit", fail)
    with pytest.raises(OSError, match="no space"):
        store.commit_wait(change)
    event.remove(store._write_engine, "commit", fail)
    assert not job_exists(store, job_id)
    store.commit_wait(change)
    assert job_exists(store, job_id)


def test_the_same_key_again_answers_the_same_and_writes_nothing(store: Store, region: RegionRows) -> None:
    answer = Written(201, b'{"id":"job_1"}', "1")
    job_id, change = job_change(region, key=key(), answer=answer)
    assert store.commit_wait(change) == answer
    for _ in range(2):
        again_id, again = job_change(region, key=key(), answer=Written(201, b'{"id":"job_2"}', "1"))
        assert store.commit_wait(again) == replace(answer, replayed=True)
        assert not job_exists(store, again_id)
    assert job_exists(store, job_id)


@pytest.mark.parametrize(
    "scope", [{"actor_id": "other"}, {"project_id": "prj_2"}, {"route": "POST /files"}], ids=str
)
def test_a_key_counts_for_its_actor_project_and_route(
    store: Store, region: RegionRows, scope: dict[str, str]
) -> None:
    store.commit_wait(job_change(region, key=key())[1])
    job_id, change = job_change(region, key=key(**scope))
    assert not store.commit_wait(change).replayed
    assert job_exists(store, job_id)


def test_a_key_used_for_something_else_is_refused(store: Store, region: RegionRows) -> None:
    store.commit_wait(job_change(region, key=key())[1])
    job_id, change = job_change(region, key=key(digest=b"\1" * 32))
    with pytest.raises(KeyReused):
        store.commit_wait(change)
    assert not job_exists(store, job_id)


def test_the_same_key_twice_in_a_batch_is_written_once(store: Store, region: RegionRows) -> None:
    made = [job_change(region, key=key(), answer=Written(201, b"%d" % n)) for n in range(4)]
    other_id, other = job_change(region, key=key("other"))
    with held(store) as threads:
        futures = queued(store, threads, [*(change for _, change in made), other])
    answers = [future.result(WAIT_S) for future in futures]
    assert answers[:4] == [Written(201, b"0"), *[Written(201, b"0", replayed=True)] * 3]
    assert [job_exists(store, job_id) for job_id, _ in made] == [True, False, False, False]
    assert job_exists(store, other_id)


def test_a_used_key_in_a_batch_is_answered_and_the_others_are_written(
    store: Store, region: RegionRows
) -> None:
    store.commit_wait(job_change(region, key=key(), answer=Written(201, b"first"))[1])
    _, again = job_change(region, key=key())
    _, reused = job_change(region, key=key(digest=b"\1" * 32))
    fresh_id, fresh = job_change(region, key=key("fresh"))
    with held(store) as threads:
        futures = queued(store, threads, [again, reused, fresh])
    assert futures[0].result(WAIT_S) == Written(201, b"first", replayed=True)
    assert isinstance(futures[1].exception(WAIT_S), KeyReused)
    assert futures[2].result(WAIT_S) == fresh.answer
    assert job_exists(store, fresh_id)


def test_a_key_that_another_plane_writes_meanwhile_is_answered_with_its_answer(
    postgres_url: str,
) -> None:
    """The other plane's transaction is open while ours inserts the same key and waits for it."""
    store, other = Store(postgres_url), Store(postgres_url)
    region = RegionRows(store)
    first = job_change(region, key=key(), answer=Written(201, b"other"))[1]
    job_id, second = job_change(region, key=key(), answer=Written(201, b"ours"))
    written, finish = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        change_apply(connection, first)
        written.set()
        assert finish.wait(WAIT_S)

    with ThreadPoolExecutor(2) as threads:
        theirs = threads.submit(other.transact_wait, None, write)
        assert written.wait(WAIT_S)
        ours = threads.submit(store.commit_wait, second)
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while not store.read_wait(lambda connection: connection.execute(waiting).scalar_one()):
            threading.Event().wait(0.005)
        finish.set()
        theirs.result(WAIT_S)
        assert ours.result(WAIT_S) == Written(201, b"other", replayed=True)
    assert not job_exists(store, job_id)
    other.close()
    store.close()


def test_work_that_fails_leaves_nothing_and_says_why(store: Store, region: RegionRows) -> None:
    job_id, change = job_change(region)

    def work(connection: Connection) -> None:
        change_apply(connection, change)
        raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        store.transact_wait(None, work)
    assert not job_exists(store, job_id)


def test_a_move_swaps_only_from_its_source(store: Store, region: RegionRows) -> None:
    pause = Change(moves=[Move(schema.pools, region.pool, "open", "paused", {})])
    store.commit_wait(pause)
    assert (region.rows(schema.pools)[0].state, region.rows(schema.pools)[0].version) == ("paused", 2)
    with pytest.raises(StaleState):
        store.commit_wait(pause)
    assert region.rows(schema.pools)[0].version == 2


def test_moves_of_a_change_hold_together(store: Store, region: RegionRows) -> None:
    other = region.pool_add("other", state="paused")
    moves = [Move(schema.pools, pool, "open", "paused", {}) for pool in (region.pool, other)]
    with pytest.raises(StaleState):
        store.commit_wait(Change(moves=moves))
    assert {row.state for row in region.rows(schema.pools, id=region.pool)} == {"open"}


def test_a_move_within_its_state_sets_values_only_there(store: Store, region: RegionRows) -> None:
    host = region.host_add("host-1")
    store.commit_wait(Change(moves=[Move(schema.hosts, host, "schedulable", "schedulable", {"detail": "x"})]))
    assert region.rows(schema.hosts)[0].detail == "x"
    with pytest.raises(StaleState):
        store.commit_wait(Change(moves=[Move(schema.hosts, host, "draining", "draining", {"detail": "y"})]))
    assert region.rows(schema.hosts)[0].detail == "x"


def test_only_the_moves_of_the_lifecycles_exist() -> None:
    for lifecycle in LIFECYCLES:
        table = schema.metadata.tables[f"{lifecycle.name}s"]
        for source in lifecycle.states:
            for target in lifecycle.states:
                if source == target or lifecycle.allows(source, target):
                    Move(table, "id", source, target, {})
                    continue
                with pytest.raises(ImpossibleState, match=f"no move from {source} to {target}"):
                    Move(table, "id", source, target, {})


def test_of_two_who_move_the_same_row_one_wins(store: Store, region: RegionRows) -> None:
    changes = [Change(moves=[Move(schema.pools, region.pool, "open", "paused", {})]) for _ in range(5)]
    with held(store) as threads:
        futures = queued(store, threads, changes)
    failures = [future.exception(WAIT_S) for future in futures]
    assert [type(failure) for failure in failures] == [type(None), *[StaleState] * 4]
    assert region.rows(schema.pools)[0].version == 2


def test_the_queue_is_bounded(store: Store, region: RegionRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_MAX", 3)
    with held(store) as threads:
        futures = queued(store, threads, [job_change(region)[1] for _ in range(3)])
        with pytest.raises(StoreBusy, match="3 writes are waiting"):
            store.commit_wait(job_change(region)[1])
    assert [future.exception(WAIT_S) for future in futures] == [None] * 3


def test_a_write_that_is_not_confirmed_in_time_may_happen_yet(
    store: Store, region: RegionRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, change = job_change(region, key=key())
    with held(store):
        monkeypatch.setattr(writer, "WAIT_S", 0.01)
        with pytest.raises(StoreBusy, match="not confirmed"):
            store.commit_wait(change)
        monkeypatch.setattr(writer, "WAIT_S", WAIT_S)
    assert store.commit_wait(change).replayed
    assert job_exists(store, job_id)


def test_more_than_a_batch_is_written_in_several(
    store: Store, region: RegionRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH_MAX", 8)
    made = [job_change(region) for _ in range(20)]
    with commits(store) as seen:
        with held(store) as threads:
            futures = queued(store, threads, [change for _, change in made])
        assert [future.exception(WAIT_S) for future in futures] == [None] * 20
    assert len(seen) == 1 + 3
    assert all(job_exists(store, job_id) for job_id, _ in made)


def test_close_writes_what_is_queued_and_takes_nothing_more(database_url: str) -> None:
    store = Store(database_url)
    region = RegionRows(store)
    made = [job_change(region) for _ in range(10)]
    with ThreadPoolExecutor(1) as closer:
        with held(store) as threads:
            futures = queued(store, threads, [change for _, change in made])
            closing = closer.submit(store.close)
            while not store._writer._closed:
                threading.Event().wait(0.001)
            with pytest.raises(StoreBusy, match="stopping"):
                store.commit_wait(job_change(region)[1])
        assert [future.exception(WAIT_S) for future in futures] == [None] * 10
        closing.result(WAIT_S)
    again = Store(database_url)
    assert all(job_exists(again, job_id) for job_id, _ in made)
    again.close()


def test_an_answer_whose_event_loop_is_gone_does_not_stop_the_writer(
    store: Store, region: RegionRows
) -> None:
    job_id, change = job_change(region)

    async def abandon() -> None:
        waiting = asyncio.ensure_future(store.commit(change))
        await asyncio.sleep(0)
        waiting.cancel()

    with held(store):
        asyncio.run(abandon())
    store.commit_wait(job_change(region)[1])
    assert job_exists(store, job_id)


def test_a_database_that_is_away_costs_one_timeout(
    store: Store, region: RegionRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    away = create_engine("sqlite:////nonexistent/kumoi.db")

    def begin(_writer: Writer) -> Any:
        tries.append(1)
        return away.begin()

    with held(store) as threads:
        futures = queued(store, threads, [job_change(region)[1] for _ in range(5)])
        monkeypatch.setattr(Writer, "_begin", begin)
    assert [type(future.exception(WAIT_S)) for future in futures] == [StoreBusy] * 5
    assert len(tries) == 2, "the batch together, then the first of it alone"


def test_reads_see_whole_commits_and_keep_their_snapshot(store: Store, region: RegionRows) -> None:
    first = region.job_add(SPEC)
    statement = select(schema.jobs.c.id).order_by(schema.jobs.c.id)
    with store.connection() as connection:
        assert connection.execute(statement).scalars().all() == [first]
        second = region.job_add(SPEC)
        assert connection.execute(statement).scalars().all() == [first]
    assert [row.id for row in region.rows(schema.jobs)] == [first, second]
    assert region.rows(schema.jobs)[0].created_us == T0_US
