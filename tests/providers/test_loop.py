"""The machines loop over a real EC2-compatible server: killed around any call, there is one machine."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from loop_world import Killed, World

from kumoi.loops.context import LoopContext
from kumoi.loops.machines import machines_activate
from kumoi.model.machines import AutoscaleWrite
from kumoi.providers.libcloud import Ec2
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.leases import leases_hold
from kumoi.store.writer import Fence

Harness = Any
SETTINGS = AutoscaleWrite(
    provider="ec2-test",
    image="ami-12c6146b",
    size="m5.large",
    host_cpu_milli=2_000,
    host_memory_bytes=8 << 30,
    boot_s=60,
    hosts_min=1,
    hosts_max=1,
    hold_s=0,
)


class Dying:
    """A store or provider that the plane does not survive a call of: `when` is `before` or `after` it."""

    def __init__(self, real: Any, doomed: str, when: str) -> None:
        self._real, self._doomed, self._when = real, doomed, when

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._fatal(found) if name == self._doomed else found

    def transact_wait(self, fence: Any, work: Any, *args: Any, **more: Any) -> Any:
        write = self._real.transact_wait
        # In the loop's thread: the writer's has to live on.
        call = self._fatal(write) if work.__name__ == self._doomed else write
        return call(fence, work, *args, **more)

    def _fatal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def die(*args: Any, **more: Any) -> Any:
            if self._when == "after":
                call(*args, **more)
            raise Killed(self._doomed)

        return die


class Region:
    """A pool that borrows one machine, whatever waits."""

    def __init__(self, store: Store, ec2: Harness) -> None:
        self.world, self.ec2 = World(store, hosts=()), ec2
        row = {"pool_id": self.world.region.pool, "provider": SETTINGS.provider, "updated_us": 1}
        self.world.region.write(schema.autoscales, row | {"settings": msgspec.json.encode(SETTINGS).decode()})
        epochs = store.transact_wait(None, leases_hold, ("machines",), "plane", None)
        self.fence = Fence("machines", "plane", epochs["machines"])
        self.context: LoopContext = replace(
            self.world.context,
            region="region-1",
            incarnation=ec2.incarnation,
            providers={"ec2-test": ec2.provider},
        )

    def step(self, **changed: Any) -> None:
        """One pass, by a plane with such a store or such providers."""
        self.world.clock.pass_s(5)
        machines_activate(replace(self.context, **changed), self.fence)

    def living(self) -> list[Any]:
        """What is paid for at the provider."""
        nodes = Ec2().nodes(Ec2().open(self.ec2.access), {"kumoi-incarnation": self.ec2.incarnation})
        return [node for node in nodes if node.extra["status"] in ("pending", "running")]

    def rows(self) -> list[Any]:
        return self.world.region.rows(schema.machines)


@pytest.fixture
def region(sqlite_url: str, ec2: Harness) -> Iterator[Region]:
    store = Store(sqlite_url)
    yield Region(store, ec2)
    store.close()


@pytest.mark.parametrize(
    ("doomed", "when", "made"),
    [
        ("decision_write", "before", 0),
        ("machine_ensure", "before", 0),
        ("machine_ensure", "after", 1),
        ("machine_boot", "before", 1),
    ],
)
def test_killed_around_the_call_there_is_one_machine(
    region: Region, doomed: str, when: str, made: int
) -> None:
    if doomed != "decision_write":
        region.step()
        assert region.living() == []
    store = Dying(region.context.store, doomed, when)
    providers = {"ec2-test": Dying(region.ec2.provider, doomed, when)}
    with pytest.raises(Killed):
        region.step(store=store, providers=providers)
    assert len(region.living()) == made
    for _ in range(3):
        region.step()
    (row,) = region.rows()
    (node,) = region.living()
    assert (row.state, row.provider_ref) == ("booting", node.id)
    assert node.name == row.name


@pytest.mark.parametrize(("doomed", "when"), [("machine_release", "before"), ("machine_release", "after")])
def test_killed_around_the_release_nothing_is_left(region: Region, doomed: str, when: str) -> None:
    for _ in range(2):
        region.step()
    assert len(region.living()) == 1
    none = msgspec.json.encode(msgspec.structs.replace(SETTINGS, hosts_min=0, hosts_max=0)).decode()
    change = schema.autoscales.update().values(settings=none)
    region.context.store.transact_wait(None, lambda connection: connection.execute(change))
    region.step()
    with pytest.raises(Killed):
        region.step(providers={"ec2-test": Dying(region.ec2.provider, doomed, when)})
    region.world.clock.pass_s(60)
    for _ in range(2):
        region.step()
    assert region.living() == []
    assert [row.state for row in region.rows()] == ["released"]
