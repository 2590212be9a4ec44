"""A witness as a process of its own, and a log in memory that can forget what it said."""

import http.client
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.note import Signer, VerifierKey, vkey_format, vkey_parse
from kumoi.ledger.tiles import Edge, append
from kumoi.ledger.tree import consistency_prove
from kumoi.ledger.witness import AddCheckpoint, add_checkpoint_format

ORIGIN = "log.example.org/main"
WAIT_S = 20


@dataclass
class Log:
    """A log in memory that can also forget what it said."""

    signer: Signer = field(default_factory=lambda: Signer(ORIGIN, b"\x05" * 32))
    edge: Edge = field(default_factory=Edge.empty)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def grow(self, *entries: bytes) -> "Log":
        writes = append(self.edge, entries)
        self.tiles.update(writes.tiles)
        self.edge = writes.edge
        return self

    def read(self, level: int, n: int, width: int) -> bytes:
        return self.tiles[level, n][: 32 * width]

    def ask(self, old_size: int = 0) -> bytes:
        note = checkpoint_sign(Checkpoint(self.signer.name, self.edge.size, self.edge.root), self.signer)
        proof = consistency_prove(self, old_size, self.edge.size) if old_size else ()
        return add_checkpoint_format(AddCheckpoint(old_size, proof, note))


class Witness:
    """A witness's process."""

    def __init__(self, directory: Path, *logs: Signer, name: str = "witness.example.org/w1") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        watched = [word for log in logs for word in ("--log", vkey_format(log.key))]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kumoi.main", "witness", "--data-dir", str(directory)),
                *("--name", name, "--listen", f"127.0.0.1:{self.port}", *watched),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        assert said[:1] == ["witness"], self.process.communicate(timeout=WAIT_S)
        self.key: VerifierKey = vkey_parse(said[1])

    def ask(self, body: bytes, path: str = "/add-checkpoint") -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read()
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=WAIT_S)
        return self.process.returncode
