"""Which replicas a service does without first."""

from dataclasses import replace

from kumoi.core.rollout_replicas import ReplicaView, replicas_sort

READY = ReplicaView("a", 1, "ready", asked_us=1, neighbours=4)


def names(*replicas: ReplicaView) -> list[str]:
    return [one.id for one in replicas_sort(replicas)]


def test_what_starts_goes_first_and_the_latest_before_all() -> None:
    early = replace(READY, id="early", state="starting", asked_us=2, neighbours=9)
    late = replace(READY, id="late", state="starting", asked_us=3, neighbours=9)
    unready = replace(READY, id="unready", state="unready")
    assert names(READY, unready, early, late) == ["late", "early", "unready", "a"]


def test_the_emptiest_host_loses_its_replicas_before_a_fuller_one() -> None:
    alone = replace(READY, id="alone", neighbours=1, busy=2)
    assert names(READY, alone) == ["alone", "a"]


def test_on_one_host_who_has_least_to_do_goes() -> None:
    idle = replace(READY, id="idle")
    assert names(replace(READY, busy=3), idle) == ["idle", "a"]
