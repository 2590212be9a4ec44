"""What every provider promises: one machine for one tag, found again by it, gone when it is released."""

from dataclasses import replace
from typing import Any

import pytest

from kumoi.providers.base import MachinePhase, ProviderUnavailable

Harness = Any
LIVING = (MachinePhase.PENDING, MachinePhase.RUNNING)


def listed(harness: Harness) -> list[str]:
    found = harness.provider.machine_list("region-1", harness.incarnation)
    return sorted(seen.tag.machine_id for seen in found)


def test_asked_for_twice_is_one_machine(harness: Harness) -> None:
    spec = harness.spec()
    first, second = harness.provider.machine_ensure(spec), harness.provider.machine_ensure(spec)
    assert first.ref == second.ref
    assert first.tag == second.tag == spec.tag
    assert first.phase in LIVING
    assert listed(harness) == ["mac_1"]


def test_a_machine_is_found_again_by_its_tag(harness: Harness) -> None:
    made = harness.provider.machine_ensure(harness.spec())
    harness.provider = harness.reopen()
    assert harness.provider.machine_ensure(harness.spec()).ref == made.ref
    seen = harness.provider.machine_list("region-1", harness.incarnation)
    assert [(one.ref, one.tag) for one in seen] == [(made.ref, made.tag)]


def test_machines_of_another_region_or_incarnation_are_not_ours(harness: Harness) -> None:
    harness.provider.machine_ensure(harness.spec())
    assert harness.provider.machine_list("region-2", harness.incarnation) == []
    assert harness.provider.machine_list("region-1", f"{harness.incarnation}-before") == []
    other = replace(harness.spec().tag, region="region-2")
    harness.provider.machine_release(other)
    harness.settle()
    assert listed(harness) == ["mac_1"]


def test_a_released_machine_goes_and_the_others_stay(harness: Harness) -> None:
    one, two = harness.spec("mac_1"), harness.spec("mac_2")
    assert harness.provider.machine_ensure(one).ref != harness.provider.machine_ensure(two).ref
    harness.provider.machine_release(one.tag)
    harness.settle()
    assert listed(harness) == ["mac_2"]


def test_a_release_may_be_repeated_and_of_nothing(harness: Harness) -> None:
    harness.provider.machine_release(harness.spec("mac_9").tag)
    harness.provider.machine_ensure(harness.spec())
    for _ in range(2):
        harness.provider.machine_release(harness.spec().tag)
    harness.settle()
    harness.provider.machine_release(harness.spec().tag)
    assert listed(harness) == []


def test_what_was_ended_is_not_made_again_where_that_is_remembered(harness: Harness) -> None:
    harness.provider.machine_ensure(harness.spec())
    harness.provider.machine_release(harness.spec().tag)
    harness.settle()
    again = harness.provider.machine_ensure(harness.spec())
    assert (again.phase is MachinePhase.GONE) is harness.remembers
    assert listed(harness) == ([] if harness.remembers else ["mac_1"])


def test_a_provider_out_of_reach_says_that_nothing_is_known(harness: Harness) -> None:
    broken = harness.break_off()
    calls = (
        lambda: broken.machine_ensure(harness.spec()),
        lambda: broken.machine_list("region-1", harness.incarnation),
        lambda: broken.machine_release(harness.spec().tag),
    )
    for call in calls:
        with pytest.raises(ProviderUnavailable):
            call()
    assert listed(harness) == []
