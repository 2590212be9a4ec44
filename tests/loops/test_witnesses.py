"""The log's witnesses, who are processes of their own: what is published was seen by enough of them."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loop_world import World
from witness_process import Witness as WitnessProcess

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open, checkpoint_sign
from kumoi.ledger.note import SignatureType, Signer, vkey_format
from kumoi.loops import witness_asking
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.witness_asking import Witness
from kumoi.loops.witnesses import FAILURES_TOLD, Quorum, WitnessesMemory, witnesses_activate
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.log import LogHead, head_read
from kumoi.store.witnesses import WitnessState, published_forget, published_read, witness_states

SIGNER = Signer("kumoi.local/witnessed", b"\x09" * 32)


class Watched:
    """A log with its witnesses, and what the plane remembers of them until it is killed."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.directory = world, directory
        self.fence = next(iter(world.fences.values()))
        self.processes: list[WitnessProcess] = []
        self.quorum = Quorum(SIGNER.key, 0, ())
        self.memory = WitnessesMemory()

    @property
    def store(self) -> Store:
        return self.world.store

    def witness(self, name: str) -> WitnessProcess:
        """Start a witness, or start it again."""
        process = WitnessProcess(self.directory / name, SIGNER, name=f"witness.example.org/{name}")
        self.processes.append(process)
        return process

    def ask(self, needed: int, *witnesses: WitnessProcess | Witness, rules: str = "rules") -> None:
        asked = tuple(
            one if isinstance(one, Witness) else Witness(f"http://127.0.0.1:{one.port}/", one.key)
            for one in witnesses
        )
        self.quorum = Quorum(SIGNER.key, needed, asked, rules)

    def grow(self) -> LogHead:
        ledger_activate(self.world.context, SIGNER, self.fence)
        head = self.store.read_wait(head_read, SIGNER.name)
        assert head is not None
        return head

    def look(self) -> LogHead | None:
        witnesses_activate(self.memory, self.quorum, self.world.context, self.fence)
        return self.store.read_wait(published_read, SIGNER.name, self.quorum.rules)

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
    assert watched.told() == []
    for _ in range(FAILURES_TOLD):
        watched.look()
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


class Rogue:
    """A witness that answers what `reply` writes, for as long as it likes."""

    def __init__(self, reply: Callable[[socket.socket, threading.Event], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.over = threading.Event()
        self.requests: list[bytes] = []
        self.reply = reply
        self.key = Signer("rogue.example", b"\2" * 32, SignatureType.COSIGNATURE_V1).key
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def witness(self) -> Witness:
        return Witness(f"http://127.0.0.1:{self.listener.getsockname()[1]}", self.key)

    def _serve(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(OSError), self.listener.accept()[0] as connection:
                self.requests.append(connection.recv(1 << 16))
                self.reply(connection, self.over)

    def end(self) -> None:
        self.over.set()
        self.listener.close()


def trickle(connection: socket.socket, over: threading.Event) -> None:
    """A byte of the head now and then: no single read ever takes long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while not over.wait(0.05):
        connection.sendall(b"x")


def bomb(connection: socket.socket, _over: threading.Event) -> None:
    """Few bytes that would be many, were they decoded; and a cookie to be carried to everybody."""
    body = gzip.compress(gzip.compress(bytes(64 << 20)))
    head = f"content-encoding: gzip, gzip\r\nset-cookie: a={'x' * 4000}\r\ncontent-length: {len(body)}"
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + head.encode() + b"\r\n\r\n" + body)


def endless(connection: socket.socket, over: threading.Event) -> None:
    """An answer that has no end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"x" * 65_536)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [(trickle, "does not answer"), (bomb, "does not verify"), (endless, "longer than")],
)
def test_a_rogue_witness_keeps_nobody_from_publishing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, reply: Any, failure: str
) -> None:
    monkeypatch.setattr(witness_asking, "ASK_S", 1.0)
    honest, rogue = watched.witness("w1"), Rogue(reply)
    try:
        watched.ask(1, rogue.witness, honest)
        for _ in range(3):
            head, published = watched.grow(), watched.look()
            assert published is not None
            assert published.size == head.size
        while watched.memory.asked:
            watched.look()
        assert failure in watched.states()[0].failure
        assert all(b"cookie" not in request.lower() for request in rogue.requests)
    finally:
        rogue.end()


def test_an_address_that_is_none_is_that_witness_s_failure_only(watched: Watched) -> None:
    honest = watched.witness("w1")
    nowhere = Witness("http://a..b/", Signer("x.example", b"\3" * 32, SignatureType.COSIGNATURE_V1).key)
    watched.ask(1, nowhere, honest)
    head, published = watched.grow(), watched.look()
    assert published is not None
    assert published.size == head.size
    assert "does not answer" in watched.states()[0].failure


def test_what_was_published_under_other_rules_is_not_shown(watched: Watched) -> None:
    only = watched.witness("w1")
    watched.ask(1, only)
    watched.grow()
    assert watched.look() is not None
    assert watched.store.read_wait(published_read, SIGNER.name, "other rules") is None
    watched.store.transact_wait(None, published_forget)
    assert watched.store.read_wait(published_read, SIGNER.name, "rules") is None
