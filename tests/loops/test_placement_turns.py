"""Nobody's waiting work hides what could be placed: neither another's nor their own."""

import pytest
from loop_world import World
from region_rows import GIB

from kumoi.engines.base import PlacementGrain
from kumoi.model.jobs import JobSpec, PlacementRules, Resources, Spread

HUGE = Resources(cpu_milli=1_000_000)


def add(world: World, organization: str = "one", **more: object) -> str:
    spec: dict[str, object] = {"command": ("true",), "resources": Resources(cpu_milli=10)}
    return world.region.job_add(JobSpec(**(spec | more)), organization=organization)  # type: ignore[arg-type]


def placed(world: World, job: str) -> int:
    return len(world.attempts(job))


@pytest.mark.parametrize("impossible", [40, 90, 300])
def test_a_small_task_behind_ones_that_fit_nowhere_is_placed_beside_another_organization(
    world: World, impossible: int
) -> None:
    add(world, array_size=impossible, resources=HUGE, priority=100)
    small = add(world)
    add(world, "two", resources=HUGE)
    world.rounds(2)
    assert placed(world, small) == 1


def test_it_is_placed_even_while_the_other_organization_is_served_in_every_pass(world: World) -> None:
    add(world, array_size=300, resources=HUGE, priority=100)
    small = add(world)
    other = add(world, "two", array_size=500, resources=Resources(cpu_milli=1, memory_bytes=4 << 20))
    world.rounds(2)
    assert (placed(world, small), placed(world, other)) == (1, 500)


def test_many_kinds_of_work_that_fit_nowhere_do_not_hide_the_one_that_fits(world: World) -> None:
    for number in range(250):
        add(world, resources=Resources(cpu_milli=500_000 + number), priority=100)
    small = add(world)
    world.rounds(4)
    assert placed(world, small) == 1


def test_all_that_fits_is_placed_in_one_activation_beside_one_that_does_not(world: World) -> None:
    many = add(world, array_size=75, resources=Resources(cpu_milli=1, memory_bytes=4 << 20))
    add(world, "two", resources=Resources(memory_bytes=1_000 * GIB))
    world.round()
    assert placed(world, many) == 75


def test_of_an_engine_that_chooses_hosts_itself_the_plane_counts_the_room_only(world: World) -> None:
    world.engine.placement_grain = PlacementGrain.POOL
    spread = PlacementRules(spread=Spread())
    job = add(world, array_size=3, rules=spread)
    world.rounds(2)
    assert placed(world, job) == 3, "how tasks lie within the pool is the engine's affair"
    world.engine.placement_grain = PlacementGrain.HOST
    other = add(world, array_size=3, rules=spread)
    world.rounds(2)
    assert placed(world, other) == 1


def test_what_is_kept_for_a_group_is_free_as_soon_as_it_waits_no_more(world: World) -> None:
    add(world, resources=Resources(cpu_milli=5_000))
    gang = add(world, gang=True, array_size=2, resources=Resources(cpu_milli=3_000))
    world.rounds(2)
    late = add(world, resources=Resources(cpu_milli=10, wall_time_s=20_000))
    world.rounds(2)
    assert (placed(world, gang), placed(world, late)) == (0, 0), "the hosts are kept for the gang"
    world.cancel(gang)
    world.rounds(2)
    assert placed(world, late) == 1
