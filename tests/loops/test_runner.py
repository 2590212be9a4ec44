"""The runner: loops run while their leases are held, are woken by nudges, and survive their own failures."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from region_rows import RegionRows
from sqlalchemy import Connection

from kumoi.engines.base import EngineUnavailable
from kumoi.loops import runner as runner_module
from kumoi.loops.runner import Loop, Runner
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import StaleState, StoreBusy
from kumoi.store.writer import Fence

WAIT_S = 30.0
FAR_S = 3_600.0


class Counted:
    """An activation that counts and does as it is told."""

    def __init__(self, *results: bool | Exception) -> None:
        self.fences: list[Fence] = []
        self._results = list(results)
        self._changed = threading.Condition()

    def __call__(self, fence: Fence) -> bool:
        with self._changed:
            self.fences.append(fence)
            result = self._results.pop(0) if self._results else False
            self._changed.notify_all()
        if isinstance(result, Exception):
            raise result
        return result

    def await_runs(self, count: int) -> None:
        """Wait until it ran so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.fences) >= count, WAIT_S)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "BACKOFF_S", 0.01)


@pytest.fixture
def running(store: Store) -> Iterator[Callable[..., Runner]]:
    started: list[Runner] = []

    def run(*loops: Loop, on: Store = store, holder: str = "plane-a") -> Runner:
        runner = Runner(on, loops, holder=holder)
        runner.start()
        started.append(runner)
        return runner

    yield run
    for runner in started:
        runner.stop()


def test_a_loop_runs_at_the_start_and_when_it_is_nudged(running: Callable[..., Runner]) -> None:
    one, two = Counted(), Counted()
    runner = running(Loop("jobs", one, FAR_S), Loop("tasks", two, FAR_S))
    one.await_runs(1)
    two.await_runs(1)
    runner.nudge("jobs")
    one.await_runs(2)
    runner.nudge()
    one.await_runs(3)
    two.await_runs(2)
    assert {fence.name for fence in one.fences} == {"jobs"}
    assert {(fence.holder, fence.epoch) for fence in one.fences} == {("plane-a", 1)}


def test_a_loop_runs_at_its_interval(running: Callable[..., Runner]) -> None:
    one = Counted()
    running(Loop("jobs", one, 0.01))
    one.await_runs(4)


def test_a_loop_that_has_more_to_do_runs_again_at_once(running: Callable[..., Runner]) -> None:
    one = Counted(True, True, StaleState("read again"), False)
    running(Loop("jobs", one, FAR_S))
    one.await_runs(4)


@pytest.mark.parametrize(
    "failure",
    [EngineUnavailable("gone"), StoreBusy("busy"), RuntimeError("defect")],
    ids=lambda failure: type(failure).__name__,
)
def test_a_loop_survives_its_failures(running: Callable[..., Runner], failure: Exception) -> None:
    one = Counted(failure)
    runner = running(Loop("jobs", one, FAR_S))
    one.await_runs(1)
    runner.nudge("jobs")
    one.await_runs(2)


def test_a_loop_whose_lease_was_taken_stops_and_goes_on_with_a_new_one(
    store: Store, running: Callable[..., Runner]
) -> None:
    region = RegionRows(store)
    wrote: list[str] = []

    def write(fence: Fence) -> bool:
        def work(connection: Connection) -> None:
            connection.execute(schema.pools.update().where(schema.pools.c.id == region.pool), {"name": "n"})

        store.transact_wait(fence, work)
        wrote.append("wrote")
        return False

    runner = running(Loop("jobs", write, 0.01))
    deadline_s = time.monotonic() + WAIT_S
    while not wrote and time.monotonic() < deadline_s:
        threading.Event().wait(0.005)
    taken = {"holder": "plane-b", "epoch": 2}
    store.transact_wait(None, lambda connection: connection.execute(schema.leases.update(), taken))
    while runner.fence("jobs") is not None and time.monotonic() < deadline_s:
        threading.Event().wait(0.005)
    assert runner.fence("jobs") is None
    count = len(wrote)
    runner.nudge("jobs")
    threading.Event().wait(0.05)
    assert len(wrote) == count, "without its lease a loop does not run"


def test_a_stopped_runner_gives_its_leases_back(store: Store) -> None:
    one = Counted()
    runner = Runner(store, [Loop("jobs", one, FAR_S)], holder="plane-a")
    runner.start()
    one.await_runs(1)
    runner.stop()
    assert [row.expires_us for row in RegionRows(store).rows(schema.leases)] == [0]


def test_a_lease_that_is_doubtful_gives_no_fence(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock that also runs while the machine sleeps, before the database would give it away."""
    store = Store(postgres_url)
    runner = Runner(store, [Loop("jobs", Counted(), FAR_S)], holder="plane-a")
    runner._leases_renew()
    assert runner.fence("jobs") == Fence("jobs", "plane-a", 1)
    late_s = runner_module._boot_s() + runner_module.LEASE_TTL_S - runner_module.LEASE_MARGIN_S
    monkeypatch.setattr(runner_module, "_boot_s", lambda: late_s)
    assert runner.fence("jobs") is None
    store.close()


def test_of_two_planes_one_runs_the_loops_and_the_other_takes_over(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "LEASE_TTL_S", 3.0)
    monkeypatch.setattr(runner_module, "LEASE_MARGIN_S", 1.0)
    stores = [Store(postgres_url) for _ in range(2)]
    first, second = Counted(), Counted()
    leader = Runner(stores[0], [Loop("jobs", first, 0.05)], holder="plane-a")
    other = Runner(stores[1], [Loop("jobs", second, 0.05)], holder="plane-b")
    leader.start()
    first.await_runs(1)
    other.start()
    first.await_runs(5)
    assert second.fences == []
    leader.stop()
    second.await_runs(1)
    assert second.fences[0].epoch == first.fences[-1].epoch + 1
    other.stop()
    for store in stores:
        store.close()
