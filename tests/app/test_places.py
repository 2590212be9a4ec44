"""Sites, pools and hosts: everybody sees pools and sites, operators run them."""

from typing import Any

import pytest
from place_rows import GIB, attempts_add, host_add
from plane_fixture import Tenant, World, key_of

from kumoi.app.events import platform_event_list
from kumoi.app.hosts import (
    SILENT_US,
    host_declare_lost,
    host_dedicate,
    host_drain,
    host_list,
    host_read,
    host_resume,
)
from kumoi.app.pools import pool_create, pool_list, pool_pause, pool_resume
from kumoi.app.sites import site_create, site_list
from kumoi.model.access import Role
from kumoi.model.errors import Conflict, Forbidden, Invalid, NotFound
from kumoi.model.places import DeviceHealth, HostDedicate, PoolCreate, SiteCreate, SiteFunction
from kumoi.store import schema


def test_sites_are_added_by_operators_and_seen_by_all(world: World, acme: Tenant) -> None:
    body = SiteCreate(name="osaka-1", country="JP", functions=(SiteFunction.COMPUTE, SiteFunction.OPERATION))
    made = world.write(site_create(world.plane, world.operator, body, key_of(world.operator, "s")))
    page = world.run(site_list(world.plane, acme.admin, 10, None))
    assert [site.name for site in page.items] == ["site-1", "osaka-1"]
    assert page.items[1].id == made["id"]
    assert page.items[1].functions == body.functions
    with pytest.raises(Conflict):
        world.run(site_create(world.plane, world.operator, body, None))
    twice = SiteCreate(name="x", country="JP", functions=(SiteFunction.COMPUTE, SiteFunction.COMPUTE))
    with pytest.raises(Invalid):
        world.run(site_create(world.plane, world.operator, twice, None))
    with pytest.raises(Forbidden):
        world.run(site_create(world.plane, acme.admin, SiteCreate(name="y", country="JP"), None))


def test_a_pool_needs_a_site_and_an_engine(world: World, acme: Tenant) -> None:
    site = world.run(site_list(world.plane, world.operator, 1, None)).items[0].id
    good = PoolCreate(name="gpu", site=site, engine="fake")
    made = world.write(pool_create(world.plane, world.operator, good, None))
    assert (made["state"], made["engine"], made["site"]) == ("open", "fake", site)
    for body, code in (
        (PoolCreate(name="a", site=site, engine="slurm"), "engine_unknown"),
        (PoolCreate(name="a", site="site_" + "0" * 26, engine="fake"), "site_unknown"),
    ):
        with pytest.raises(Invalid) as refused:
            world.run(pool_create(world.plane, world.operator, body, None))
        assert refused.value.code == code
    with pytest.raises(Forbidden):
        world.run(pool_create(world.plane, acme.admin, good, None))
    page = world.run(pool_list(world.plane, acme.admin, 10, None))
    assert [pool.name for pool in page.items] == ["default", "gpu"]


def test_pools_are_paused_and_resumed_by_name_or_id(world: World, acme: Tenant) -> None:
    key = key_of(world.operator, "pause")
    paused = world.write(pool_pause(world.plane, world.operator, "default", key))
    assert (paused["state"], paused["version"]) == ("paused", 2)
    assert world.run(pool_pause(world.plane, world.operator, "default", key)).replayed
    with pytest.raises(Conflict) as refused:
        world.run(pool_pause(world.plane, world.operator, "default", None))
    assert refused.value.code == "pool_state"
    assert world.write(pool_resume(world.plane, world.operator, paused["id"], None))["state"] == "open"
    with pytest.raises(NotFound):
        world.run(pool_pause(world.plane, world.operator, "absent", None))
    with pytest.raises(Forbidden):
        world.run(pool_pause(world.plane, acme.admin, "default", None))
    events = world.run(platform_event_list(world.plane, world.operator, 2, None)).items
    assert [event.action for event in events] == ["pool_resume", "pool_pause"]


def test_a_host_shows_what_its_live_attempts_hold(world: World, acme: Tenant) -> None:
    busy, idle = host_add(world, "busy"), host_add(world, "idle")
    attempts_add(world, acme, busy, "placed", "running", "stopping", "ended")
    page = world.run(host_list(world.plane, world.operator, None, 10, None))
    assert [host.id for host in page.items] == [busy, idle]
    host = world.run(host_read(world.plane, world.operator, "busy"))
    assert host == page.items[0]
    assert (host.attempts, host.cpu_milli_used, host.memory_bytes_used) == (3, 4_500, 3 * GIB)
    assert (host.cpu_milli, host.memory_bytes) == (8_000, 16 * GIB)
    assert [(device.kind, device.health, device.attempts) for device in host.devices] == [
        ("gpu", DeviceHealth.HEALTHY, ())
    ]
    assert world.run(host_read(world.plane, world.operator, idle)).attempts == 0


def test_hosts_are_listed_by_pool(world: World) -> None:
    site = world.run(site_list(world.plane, world.operator, 1, None)).items[0].id
    body = PoolCreate(name="gpu", site=site, engine="fake")
    gpu = world.write(pool_create(world.plane, world.operator, body, None))["id"]
    host_add(world, "one")
    host_add(world, "two", pool=gpu)
    for name in ("gpu", gpu):
        page = world.run(host_list(world.plane, world.operator, name, 10, None))
        assert [host.name for host in page.items] == ["two"]
    with pytest.raises(NotFound):
        world.run(host_list(world.plane, world.operator, "absent", 10, None))


def test_draining_follows_the_lifecycle_and_voids_older_plans(world: World) -> None:
    host = host_add(world, "one")

    def generation() -> int:
        table = schema.hosts
        return int(
            world.plane.store.read_wait(
                lambda connection: connection.execute(schema.hosts.select().where(table.c.id == host)).one()
            ).generation
        )

    key = key_of(world.operator, "drain")
    drained = world.write(host_drain(world.plane, world.operator, "one", key))
    assert (drained["state"], drained["version"], generation()) == ("draining", 2, 1)
    assert world.run(host_drain(world.plane, world.operator, "one", key)).replayed
    with pytest.raises(Conflict) as refused:
        world.run(host_drain(world.plane, world.operator, host, None))
    assert refused.value.code == "host_state"
    assert world.write(host_resume(world.plane, world.operator, host, None))["state"] == "schedulable"
    with pytest.raises(Conflict):
        world.run(host_resume(world.plane, world.operator, host, None))
    assert generation() == 2


@pytest.mark.parametrize(
    ("state", "can_drain", "can_resume"),
    [
        ("schedulable", True, False),
        ("draining", False, True),
        ("maintenance", False, True),
        ("quarantined", True, True),
    ],
)
def test_every_state_of_a_host(world: World, state: str, can_drain: bool, can_resume: bool) -> None:
    for move, can in ((host_drain, can_drain), (host_resume, can_resume)):
        name = f"host-{move.__name__.replace('_', '-')}"
        host_add(world, name, state=state)
        if can:
            assert world.run(move(world.plane, world.operator, name, None)).status == 200
        else:
            with pytest.raises(Conflict):
                world.run(move(world.plane, world.operator, name, None))


def touched(world: World) -> list[str]:
    """The hosts that placement is to look at again."""
    rows = world.plane.store.read_wait(
        lambda connection: connection.execute(schema.host_touches.select()).all()
    )
    return [row.host_id for row in rows]


def host_row(world: World, host_id: str) -> Any:
    statement = schema.hosts.select().where(schema.hosts.c.id == host_id)
    return world.plane.store.read_wait(lambda connection: connection.execute(statement).one())


def test_every_operators_move_of_a_host_is_told_to_placement(world: World, acme: Tenant) -> None:
    host = host_add(world, "one")
    moves = (
        host_drain(world.plane, world.operator, "one", None),
        host_resume(world.plane, world.operator, "one", None),
        host_dedicate(world.plane, world.operator, "one", HostDedicate("acme"), None),
    )
    for number, move in enumerate(moves, 1):
        world.run(move)
        assert touched(world) == [host] * number
        assert host_row(world, host).generation == number


def test_a_host_is_dedicated_once_by_name_or_id(world: World, acme: Tenant) -> None:
    host = host_add(world, "one")
    key = key_of(world.operator, "dedicate")
    for _ in range(2):
        kept = world.write(host_dedicate(world.plane, world.operator, "one", HostDedicate("acme"), key))
        assert (kept["dedicated_to"], kept["version"]) == (acme.id, 2)
    assert host_row(world, host).dedicated_to == acme.id
    given_back = world.write(host_dedicate(world.plane, world.operator, host, HostDedicate(None), None))
    assert given_back["dedicated_to"] is None
    with pytest.raises(Invalid) as refused:
        world.run(host_dedicate(world.plane, world.operator, host, HostDedicate("nobody"), None))
    assert refused.value.at == "/organization"
    with pytest.raises(Forbidden):
        world.run(host_dedicate(world.plane, acme.admin, "one", HostDedicate("acme"), None))
    events = world.run(platform_event_list(world.plane, world.operator, 2, None)).items
    assert [event.detail["organization"] for event in events] == [None, acme.id]


def silence(world: World, host_id: str, **values: Any) -> None:
    statement = schema.hosts.update().where(schema.hosts.c.id == host_id)
    world.plane.store.transact_wait(None, lambda connection: connection.execute(statement, values))


def test_a_silent_host_is_declared_lost_and_its_work_ends(world: World, acme: Tenant) -> None:
    host = host_add(world, "dead")
    attempts_add(world, acme, host, "placed", "running", "stopping", "ended")
    with pytest.raises(Conflict) as refused:
        world.run(host_declare_lost(world.plane, world.operator, "dead", None))
    assert refused.value.code == "host_not_lost"
    silence(world, host, health="lost")
    with pytest.raises(Conflict):
        world.run(host_declare_lost(world.plane, world.operator, "dead", None))
    world.clock_us += SILENT_US
    with pytest.raises(Forbidden):
        world.run(host_declare_lost(world.plane, acme.admin, "dead", None))
    key = key_of(world.operator, "dead")
    for _ in range(2):
        lost = world.write(host_declare_lost(world.plane, world.operator, "dead", key))
        assert (lost["state"], lost["attempts"]) == ("quarantined", 0)
    read = world.run(host_read(world.plane, world.operator, host))
    assert (read.state, read.attempts, read.cpu_milli_used) == ("quarantined", 0, 0)
    attempts = world.plane.store.read_wait(
        lambda connection: connection.execute(schema.attempts.select()).all()
    )
    assert sorted(row.outcome for row in attempts) == ["exited", "host_lost", "host_lost", "host_lost"]
    event = world.run(platform_event_list(world.plane, world.operator, 1, None)).items[0]
    assert (event.action, event.detail["attempts"]) == ("host_declare_lost", 3)
    assert host in touched(world)


def test_a_host_that_is_drained_stays_so_when_it_is_declared_lost(world: World) -> None:
    host = host_add(world, "dead", state="draining")
    silence(world, host, health="lost")
    world.clock_us += SILENT_US
    lost = world.write(host_declare_lost(world.plane, world.operator, host, None))
    assert lost["state"] == "draining"


def test_tenants_see_no_hosts(world: World, acme: Tenant) -> None:
    host_add(world, "one")
    viewer = acme.actor("ann", Role.VIEWER)
    for actor in (acme.admin, viewer):
        for attempt in (
            host_list(world.plane, actor, None, 10, None),
            host_read(world.plane, actor, "one"),
            host_read(world.plane, actor, "absent"),
            host_drain(world.plane, actor, "one", None),
        ):
            with pytest.raises(Forbidden):
                world.run(attempt)
    for absent in ("absent", "host_" + "0" * 26, "a\0b"):
        with pytest.raises(NotFound):
            world.run(host_read(world.plane, world.operator, absent))
