"""A small log with two witnesses, made by the program itself: what seeds are taken from."""

import atexit
import base64
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign, cosignature_sign
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import SignatureType, Signer, note_extend
from kumoi.ledger.receipt import receipt_build, receipt_format
from kumoi.ledger.tiles import ENTRIES, Edge, append, bundle_prefix, path_parse, tile_prefix

ORIGIN = "kumoi.local/fuzz"
LOG = Signer(ORIGIN, b"\x05" * 32)
WITNESSES = [
    Signer(f"witness.example/{name}", seed * 32, SignatureType.COSIGNATURE_V1)
    for name, seed in (("a", b"\x06"), ("b", b"\x07"))
]
WITNESS_KEYS = [witness.key for witness in WITNESSES]
EVENT = (
    b'{"action":"job_create","actor":"usr_1","at":"2026-11-23T00:00:00.000000Z","detail":{"n":1},'
    b'"id":"evt_1","organization":"org_1","outcome":"done","project":null,"resource":"job_1"}'
)
SALT = b"\x08" * 32
INDEX = 7


@dataclass
class Log:
    """A log of so many entries, with an event in it; also what proofs are read from."""

    size: int
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    bundles: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries = [event_commit(SALT, b"%d" % number) for number in range(self.size)]
        entries[INDEX] = event_commit(SALT, EVENT)
        grown = append(Edge.empty(), entries)
        self.tiles, self.bundles = dict(grown.tiles), dict(grown.bundles)
        state = Checkpoint(ORIGIN, self.size, grown.root)
        cosigned = [cosignature_sign(state, one, 1_800_000_000) for one in WITNESSES]
        self.checkpoint = note_extend(checkpoint_sign(state, LOG), cosigned)

    def read(self, level: int, n: int, width: int) -> bytes:
        """Hashes of a tile."""
        return self.tiles[level, n][: 32 * width]

    def file(self, path: str) -> bytes:
        """The tile or bundle at a path."""
        at = path_parse(path)
        if at.level == ENTRIES:
            return bundle_prefix(self.bundles[at.n], at.width)
        assert isinstance(at.level, int)
        return tile_prefix(self.tiles[at.level, at.n], at.width)


@cache
def log_made(size: int = 300) -> Log:
    """The log, made once for each size."""
    return Log(size)


def receipt_made() -> bytes:
    """A receipt of the event, as a file of C2SP tlog-proof."""
    log = log_made()
    return receipt_format(receipt_build(log, INDEX, log.checkpoint))


def encoded(raw: bytes) -> str:
    """Base64, as JSON carries bytes."""
    return base64.b64encode(raw).decode()


def place_make() -> Path:
    """A directory for a target's files, which goes with the process."""
    made = Path(tempfile.mkdtemp(prefix="kumoi-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
