"""The log's witnesses, who are processes of their own: what is published was seen by enough of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_world import World
from witness_process import Witness as WitnessProcess

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open, checkpoint_sign
from kumoi.ledger.note import Signer, vkey_format
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.witness_asking import Witness
from kumoi.loops.witnesses import Quorum, WitnessesMemory, witnesses_activate
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.log import LogHead, head_read
from kumoi.store.witnesses import WitnessState, published_read, witness_states

SIGNER = Signer("kumoi.local/witnessed", b"\x09" * 32)


class Watched:
    """A log with its witnesses, and what the plane remembers of them until it is killed."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.directory = world, directory
        self.fence = next(iter(world.fences.values()))
        self.processes: list[WitnessProcess] = []
        self.quorum = Quorum(SIGNER.name, 0, ())
        self.memory = WitnessesMemory()

    @property
    def store(self) -> Store:
        return self.world.store

    def witness(self, name: str) -> WitnessProcess:
        """Start a witness, or start it again."""
        process = WitnessProcess(self.directory / name, SIGNER, name=f"witness.example.org/{name}")
        self.processes.append(process)
        return process

    def ask(self, needed: int, *witnesses: WitnessProcess) -> None:
        asked = tuple(Witness(f"http://127.0.0.1:{one.port}/", one.key) for one in witnesses)
        self.quorum = Quorum(SIGNER.name, needed, asked)

    def grow(self) -> LogHead:
        ledger_activate(self.world.context, SIGNER, self.fence)
        head = self.store.read_wait(head_read, SIGNER.name)
        assert head is not None
        return head

    def look(self) -> LogHead | None:
        witnesses_activate(self.memory, self.quorum, self.world.context, self.fence)
        return self.store.read_wait(published_read, SIGNER.name)

    def states(self) -> list[WitnessState]:
        known = self.store.read_wait(witness_states)
        return [known[vkey_format(one.key)] for one in self.quorum.witnesses]

    def told(self) -> list[str]:
        rows = self.store.read_wait(lambda connection: connection.execute(schema.events.select()).all())
        return [word for row in rows for word in ("witness_fail", "witness_return") if word in row.canonical]


@pytest.fixture
def watched(world_of_each: World, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(world_of_each, tmp_path)
    yield made
    made.memory.client.close()
    for process in made.processes:
        if process.process.poll() is None:
            process.end()


def test_what_is_published_carries_the_cosignatures_of_the_quorum(watched: Watched) -> None:
    first, second = watched.witness("w1"), watched.witness("w2")
    watched.ask(2, first, second)
    for _ in range(3):
        head, published = watched.grow(), watched.look()
        assert published is not None
        opened = checkpoint_open(
            published.checkpoint.encode(), SIGNER.key, witnesses=[first.key, second.key], quorum=2
        )
        assert (opened.checkpoint.size, opened.checkpoint.root) == (head.size, head.root)
    assert [one.failure for one in watched.states()] == ["", ""]
    assert watched.told() == []


def test_without_its_quorum_nothing_new_is_published(watched: Watched) -> None:
    first, second = watched.witness("w1"), watched.witness("w2")
    watched.ask(2, first, second)
    before = watched.grow()
    assert watched.look() is not None
    second.end()
    watched.grow()
    published = watched.look()
    assert published is not None
    assert published.size == before.size
    assert "does not answer" in watched.states()[1].failure
    assert watched.told() == ["witness_fail"]
    again = watched.witness("w2")
    watched.ask(2, first, again)
    published = watched.look()
    assert published is not None
    assert published.size == watched.grow().size - 8
    assert watched.told() == ["witness_fail", "witness_return"]


def test_a_quorum_needs_no_witness_beyond_it(watched: Watched) -> None:
    first, second, third = (watched.witness(name) for name in ("w1", "w2", "w3"))
    watched.ask(2, first, second, third)
    second.end()
    head, published = watched.grow(), watched.look()
    assert published is not None
    assert published.size == head.size
    late = watched.witness("w2")
    watched.ask(2, first, late, third)
    full = watched.look()
    assert full is not None
    keys = [first.key, late.key, third.key]
    assert len(checkpoint_open(full.checkpoint.encode(), SIGNER.key, witnesses=keys).cosignatures) == 3


def test_a_plane_that_forgot_everything_asks_again(watched: Watched) -> None:
    only = watched.witness("w1")
    watched.ask(1, only)
    for _ in range(2):
        watched.grow()
        watched.look()
    watched.memory.client.close()
    watched.memory = WitnessesMemory()
    watched.store.transact_wait(None, lambda connection: connection.execute(schema.log_witnesses.delete()))
    head, published = watched.grow(), watched.look()
    assert published is not None
    assert published.size == head.size


def test_a_history_that_was_set_back_or_rewritten_is_never_published_again(watched: Watched) -> None:
    only = watched.witness("w1")
    watched.ask(1, only)
    kept = watched.grow()
    watched.grow()
    published = watched.look()
    assert published is not None

    head_overwrite(watched.store, kept.size, kept.root, kept.checkpoint)
    assert watched.look() == published
    assert "set back" in watched.states()[0].failure
    forged = Checkpoint(SIGNER.name, published.size, b"\1" * 32)
    head_overwrite(watched.store, forged.size, forged.root, checkpoint_sign(forged, SIGNER).decode())
    assert watched.look() == published
    assert "two histories" in watched.states()[0].failure


def head_overwrite(store: Store, size: int, root: bytes, checkpoint: str) -> None:
    """What an operator can do who owns the database and the log's key."""
    statement = schema.log_heads.update().values(size=size, root=root, checkpoint=checkpoint)
    store.transact_wait(None, lambda connection: connection.execute(statement))
