"""Transactions of several planes wait for each other in one direction only; none works on what is stale."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from plan_rows import plan_decide
from region_rows import T0_US, RegionRows
from sqlalchemy import text

from kumoi.model.jobs import AttemptOutcome, DeviceRequest, JobSpec, Resources
from kumoi.model.shares import QuotaResource
from kumoi.store import attempts, hosts, placement, schema
from kumoi.store.attempts import AttemptEnd, attempts_end
from kumoi.store.database import Store
from kumoi.store.hosts import HostSeen, hosts_see
from kumoi.store.jobs import job_cancel, jobs_expand
from kumoi.store.placement import Decided, plan_apply
from kumoi.store.shares import quota_list, quota_put, quotas_audit

WAIT_S = 20
_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
GPU = DeviceRequest("gpu", milli=400)


class Planes:
    """Two planes on one PostgreSQL. What the second does begins in the middle of what the first does."""

    def __init__(self, url: str) -> None:
        self.first, self.second = Store(url), Store(url)
        self.region = RegionRows(self.first)
        self._pool = ThreadPoolExecutor(1)
        self._other: Future[Any] | None = None

    def close(self) -> None:
        self._pool.shutdown()
        self.first.close()
        self.second.close()

    def queue(self, **more: Any) -> str:
        job = self.region.job_add(JobSpec(**({"command": ("true",)} | more)))
        self.first.transact_wait(None, jobs_expand, T0_US, 0, 1_000, 100)
        return job

    def decide(self) -> Decided:
        return self.first.read_wait(plan_decide, self.region.pool)

    def middle(self, work: Callable[[], Any]) -> None:
        """Let the second plane do `work` until it has ended or waits for the first."""
        self._other = self._pool.submit(work)
        for _ in range(100 * WAIT_S):
            if self._other.done() or self.first.read_wait(lambda c: c.execute(_WAITS).scalar_one()):
                return
            wait([self._other], timeout=0.01)
        raise AssertionError("the second plane neither ended nor waits")

    def other(self) -> Any:
        """What the second plane's work gave."""
        assert self._other is not None
        return self._other.result(WAIT_S)


@pytest.fixture
def planes(postgres_url: str) -> Iterator[Planes]:
    made = Planes(postgres_url)
    yield made
    made.close()


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, first: Callable[[], None]) -> None:
    """Do `first` before the next call of a function, once."""
    original = getattr(module, name)

    def interrupted(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(module, name, original)
        first()
        return original(*args, **more)

    monkeypatch.setattr(module, name, interrupted)


def apply(store: Store, decided: Decided) -> Any:
    return store.transact_wait(None, plan_apply, decided, epoch=3, now_us=T0_US + 5, cell=0)


def see(store: Store, region: RegionRows, *seen: HostSeen) -> None:
    more = {"platform_id": region.platform, "now_us": T0_US + 9, "lost_after_us": 10**12, "cell": 0}
    store.transact_wait(None, hosts_see, "fake", seen, **more)


def end_of(attempt_id: str) -> AttemptEnd:
    return AttemptEnd(attempt_id, AttemptOutcome.EXITED, 0, None, T0_US + 6, T0_US + 7, 0, 0, "")


def test_a_cancel_in_the_middle_of_a_placement(planes: Planes, monkeypatch: pytest.MonkeyPatch) -> None:
    planes.region.host_add("host-1")
    job = planes.queue()
    decided = planes.decide()

    def cancel() -> Any:
        return planes.second.transact_wait(None, job_cancel, job, T0_US + 6, "changed my mind")

    before(monkeypatch, placement, "_placed_write", lambda: planes.middle(cancel))
    assert apply(planes.first, decided).placed == 1
    assert planes.other() == "cancelling"
    assert [row.state for row in planes.region.rows(schema.attempts)] == ["stopping"]


def test_a_placement_in_the_middle_of_an_end_on_the_same_device(
    planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes.region.device_add(planes.region.host_add("host-1"), 0)
    one = planes.region.organizations["one"]
    planes.first.transact_wait(None, quota_put, one, QuotaResource.CPU_MILLI, 9_000, T0_US)
    planes.queue(resources=Resources(cpu_milli=100, devices=(GPU,)))
    apply(planes.first, planes.decide())
    (attempt,) = planes.region.rows(schema.attempts)
    planes.queue(resources=Resources(cpu_milli=200, devices=(GPU,)))
    decided = planes.decide()
    before(
        monkeypatch,
        attempts,
        "quotas_release",
        lambda: planes.middle(lambda: apply(planes.second, decided)),
    )
    planes.first.transact_wait(None, attempts_end, [end_of(attempt.id)], T0_US + 8)
    assert planes.other().placed == 1
    assert [row.milli_used for row in planes.region.rows(schema.devices)] == [400]
    assert [quota.used for quota in planes.first.read_wait(quota_list, one)] == [200]


def test_a_placement_in_the_middle_of_a_look_at_hosts_that_report_in_another_order(
    planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [HostSeen(f"host-{n}", 1_000, 8 << 30, "boot-1", True, "") for n in range(2)]
    see(planes.first, planes.region, *seen)
    planes.queue(array_size=2)
    decided = planes.decide()
    assert len(decided.plan.placed) == 2
    changed = HostSeen("host-1", 1_000, 8 << 30, "boot-2", True, "")
    before(monkeypatch, hosts._Look, "finish", lambda: planes.middle(lambda: apply(planes.second, decided)))
    see(planes.first, planes.region, changed, seen[0])
    second = max(row.id for row in planes.region.rows(schema.hosts))
    assert planes.other().stale == (second,)


def test_a_look_in_the_middle_of_a_placement_counts_on(
    planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = HostSeen("host-1", 4_000, 8 << 30, "boot-1", True, "")
    see(planes.first, planes.region, report)
    planes.queue()
    decided = planes.decide()
    smaller = HostSeen("host-1", 1_000, 8 << 30, "boot-1", True, "")
    look = lambda: see(planes.second, planes.region, smaller)  # noqa: E731
    before(monkeypatch, placement, "_placed_write", lambda: planes.middle(look))
    generation = planes.region.rows(schema.hosts)[0].generation
    assert apply(planes.first, decided).placed == 1
    planes.other()
    (host,) = planes.region.rows(schema.hosts)
    assert (host.cpu_milli, host.generation) == (1_000, generation + 2)


@pytest.mark.parametrize("ends", [False, True], ids=["place", "end"])
def test_a_first_quota_in_the_middle_counts_what_is_held(
    planes: Planes, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    planes.region.host_add("host-1")
    one = planes.region.organizations["one"]
    planes.queue()
    decided = planes.decide()

    def limit() -> Any:
        return planes.second.transact_wait(None, quota_put, one, QuotaResource.TASKS, 5, T0_US)

    if ends:
        apply(planes.first, decided)
        (attempt,) = planes.region.rows(schema.attempts)
        before(monkeypatch, attempts, "insert_many", lambda: planes.middle(limit))
        planes.first.transact_wait(None, attempts_end, [end_of(attempt.id)], T0_US + 8)
    else:
        before(monkeypatch, placement, "_placed_write", lambda: planes.middle(limit))
        apply(planes.first, decided)
    assert planes.other().used == (0 if ends else 1)
    assert planes.first.transact_wait(None, quotas_audit) == []
