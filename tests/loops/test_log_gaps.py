"""Gaps of the log are told of once, and so is their end, however often the plane starts."""

import json

import pytest
from loop_world import S_US, World
from witness_process import Log

from kumoi.ledger.note import Signer
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.log_gaps import LogGapsMemory, log_gaps_activate
from kumoi.loops.witness_asking import Witness
from kumoi.loops.witnesses import Quorum
from kumoi.store import schema
from kumoi.store.events import event_row
from kumoi.store.log import head_read
from kumoi.store.witnesses import witnesses_write

BOUND_US = 60 * S_US
SIGNER = Signer("kumoi.local/test", bytes(32))
ALONE = Quorum(SIGNER.key, 0, ())
WITNESSED = Quorum(SIGNER.key, 1, (Witness("http://127.0.0.1:1/", Log().signer.key),), "rules")


class Watch:
    """The loop that watches, over a plane whose other loops a test runs."""

    def __init__(self, world: World, quorum: Quorum = ALONE) -> None:
        self.world, self.quorum = world, quorum
        self.fence = next(iter(world.fences.values()))
        self.memory = LogGapsMemory()

    def look(self, pass_s: float = 0) -> list[tuple[str, str]]:
        """Let time pass, look, and say what was told so far."""
        self.world.clock.pass_s(pass_s)
        log_gaps_activate(self.memory, self.quorum, BOUND_US, self.world.context, self.fence)
        rows = [json.loads(row.canonical) for row in self.world.region.rows(schema.events)]
        return [(one["action"], one["detail"]["gap"]) for one in rows if "log_gap" in one["action"]]

    def event(self) -> None:
        organization = self.world.region.organizations["one"]
        row = event_row(
            "job_create", at_us=self.world.clock(), actor="a", resource="r", organization=organization
        )
        self.world.region.write(schema.events, row)

    def place(self) -> None:
        ledger_activate(self.world.context, SIGNER, self.fence)

    def publish(self) -> None:
        store = self.world.store
        head = store.read_wait(head_read, SIGNER.name)
        store.transact_wait(None, witnesses_write, [], head, self.quorum.rules, [], [])


def test_events_that_are_not_placed_are_told_of_once_with_a_notice(world_of_each: World) -> None:
    watch = Watch(world_of_each)
    assert watch.look() == []
    watch.event()
    assert watch.look(60) == []
    assert watch.look(1) == [("log_gap_begin", "placing")]
    watch.memory = LogGapsMemory()
    assert watch.look(61) == [("log_gap_begin", "placing")], "a start tells nothing twice"
    watch.place()
    told = [("log_gap_begin", "placing"), ("log_gap_end", "placing")]
    assert watch.look() == told
    assert watch.look(10) == told
    notices = world_of_each.region.rows(schema.notices)
    assert [(row.kind, row.organization_id) for row in notices] == [
        ("log_gap_begin", None),
        ("log_gap_end", None),
    ]
    assert world_of_each.nudged["notices"] == 2


def test_a_plane_that_was_stopped_has_time_to_catch_up(world: World) -> None:
    watch = Watch(world)
    watch.event()
    assert watch.look(10_000) == []
    watch.place()
    assert watch.look(100) == []


def test_what_the_log_tells_of_its_gap_does_not_prolong_it(world: World) -> None:
    """The event of the gap waits for its place as well."""
    watch = Watch(world)
    watch.look()
    watch.event()
    watch.look(61)
    watch.place()
    assert watch.look(1)[-1] == ("log_gap_end", "placing")
    watch.place()
    assert len(watch.look(600)) == 2


def test_a_log_that_is_not_published_is_told_of(world: World) -> None:
    watch = Watch(world, WITNESSED)
    watch.look()
    watch.place()
    assert watch.look(61) == [("log_gap_begin", "publishing")]
    watch.place()
    watch.publish()
    assert watch.look(30) == [("log_gap_begin", "publishing"), ("log_gap_end", "publishing")]
    watch.place()
    assert watch.look(31)[2:] == [("log_gap_begin", "publishing")]


@pytest.mark.parametrize("quorum", [ALONE, WITNESSED], ids=["alone", "witnessed"])
def test_a_log_that_gets_on_tells_nothing(world: World, quorum: Quorum) -> None:
    watch = Watch(world, quorum)
    for _ in range(20):
        watch.event()
        watch.place()
        watch.publish()
        assert watch.look(30) == []
