"""What an operator could try with the log: each is caught, by those who verify files and those who follow.

A lie is a function that changes what the plane shows. The same one is told to `kumoi log verify` over a
mirror with a receipt, or an export, and by a lying plane to `kumoi log watch`. Before each the honest answer
verifies.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lying_plane import Lie, LyingPlane
from witness_process import WAIT_S
from witnessed_region import Region

from kumoi.cli.root import root
from kumoi.ledger.checkpoint import (
    Checkpoint,
    checkpoint_format,
    checkpoint_peek,
    checkpoint_sign,
    cosignature_sign,
)
from kumoi.ledger.note import (
    Note,
    SignatureType,
    Signer,
    note_extend,
    note_format,
    note_parse,
    note_sign,
    signature_make,
)
from kumoi.ledger.receipt import receipt_build, receipt_format, receipt_parse
from kumoi.ledger.tiles import (
    ENTRIES,
    Edge,
    append,
    bundle_decode,
    bundle_encode,
    bundle_prefix,
    path_parse,
    tile_path,
    tile_prefix,
)

OLDER_SIZE = 256 + 8
"""A full tile and bundle, with its hash in a tile of level 1, and partial ones."""
SIZE = OLDER_SIZE + 32


@dataclass
class Log:
    """A log in memory: another history than the region's, or the same."""

    entries: Sequence[bytes]
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    bundles: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grown = append(Edge.empty(), self.entries)
        self.tiles, self.bundles = dict(grown.tiles), dict(grown.bundles)
        self.size, self.root = grown.size, grown.root

    def read(self, level: int, n: int, width: int) -> bytes:
        return self.tiles[level, n][: 32 * width]

    def file(self, path: str) -> bytes:
        at = path_parse(path)
        if at.level == ENTRIES:
            return bundle_prefix(self.bundles[at.n], at.width)
        assert isinstance(at.level, int)
        return tile_prefix(self.tiles[at.level, at.n], at.width)


@dataclass
class World:
    """A running region, a plane that can lie about it, and what an honest tenant holds of it."""

    region: Region
    liar: LyingPlane
    directory: Path
    token: str
    before: bytes = b""
    events: list[str] = field(default_factory=list)
    run: Callable[..., Any] = field(init=False)

    @property
    def mirror(self) -> Path:
        return self.directory / "mirror"

    @property
    def newest(self) -> bytes:
        return (self.mirror / "checkpoint").read_bytes()

    def log(self) -> Log:
        """The region's log as it was when it was mirrored."""
        size = checkpoint_peek(self.newest).size
        parts = [(n, min(256, size - 256 * n)) for n in range(-(-size // 256))]
        found = [
            bundle_decode((self.mirror / tile_path(ENTRIES, n, width)).read_bytes(), width)
            for n, width in parts
        ]
        return Log([entry for bundle in found for entry in bundle])

    def cosigners(self) -> list[Signer]:
        """The witnesses' own keys, as only they hold them."""
        found = []
        for name in ("a", "b"):
            seed = (self.directory / name / "witness.key").read_bytes()
            found.append(Signer(f"witness.example/{name}", seed, SignatureType.COSIGNATURE_V1))
        return found

    def signed(self, log: Log, witnesses: int) -> bytes:
        """A checkpoint of `log` under the region's key, cosigned by so many of its witnesses."""
        state = Checkpoint(self.region.log.name, log.size, log.root)
        cosigned = [cosignature_sign(state, one, 1_800_000_000) for one in self.cosigners()[:witnesses]]
        return note_extend(checkpoint_sign(state, self.region.log), cosigned)

    def receipt(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / f"{number}.json").read_bytes())
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    region = Region(directory, KUMOI_LOG_INTERVAL_S="0.1")
    liar = LyingPlane(region.url)
    try:
        made = World(region, liar, directory, region.tenant())
        region.until(lambda found: found["published_size"] > OLDER_SIZE)
        made.before = region.kumoi("log", "checkpoint").stdout.encode()
        region.until(lambda found: found["published_size"] > SIZE)
        listed = region.kumoi("event", "list", "--limit", "2", "--json", token=made.token)
        made.events = [event["id"] for event in json.loads(listed.stdout)["items"]]
        for number, event in enumerate(made.events):
            saved = str(directory / f"{number}.json")
            assert region.kumoi("log", "receipt", event, "-o", saved, token=made.token).returncode == 0
        exported = region.kumoi("log", "export", "-o", str(directory / "export.json"), token=made.token)
        assert exported.returncode == 0, exported.stderr
        assert region.kumoi("log", "mirror", str(made.mirror)).returncode == 0
        yield made
    finally:
        region.end()
        liar.end()


Ran = tuple[int, str]


@pytest.fixture
def kumoi(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """Run a command in this process against the plane that may lie: the exit code, and what went wrong."""
    monkeypatch.setenv("KUMOI_URL", world.liar.url)
    monkeypatch.setenv("KUMOI_TOKEN", world.token)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def run(*words: object) -> Ran:
        done = CliRunner().invoke(root, [str(word) for word in (*words, *world.region.trust, "--json")])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stderr

    return run


def bit_flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def encoded_flip(encoded: str, at: int) -> str:
    return base64.b64encode(bit_flip(base64.b64decode(encoded), at)).decode()


def at_receipt(change: Callable[[World, dict[str, Any]], dict[str, Any]]) -> Callable[[World], Lie]:
    """A lie about the receipt of the newest event."""

    def make(world: World) -> Lie:
        changed = json.dumps(change(world, world.receipt(0))).encode()
        return lambda name, answer: changed if name == "receipt" else answer

    return make


def at_bundle(change: Callable[[list[bytes]], None]) -> Callable[[World], Lie]:
    """A lie about the entries of the first bundle."""

    def make(world: World) -> Lie:
        entries = list(world.log().entries[:256])
        change(entries)
        changed = bundle_encode(entries)
        return lambda name, answer: changed if name == "tile/entries/000" else answer

    return make


def at_tile(path: str) -> Callable[[World], Lie]:
    def make(world: World) -> Lie:
        return lambda name, answer: bit_flip(answer, 9) if name.split(".p/")[0] == path else answer

    return make


def at_checkpoint(change: Callable[[World], bytes]) -> Callable[[World], Lie]:
    """A lie about the newest checkpoint."""

    def make(world: World) -> Lie:
        changed = change(world)
        return lambda name, answer: changed if name == "checkpoint" else answer

    return make


def at_history(witnesses: int) -> Callable[[World], Lie]:
    """Another history, complete and signed again: everything fits together."""

    def make(world: World) -> Lie:
        fork = rewritten(world)
        note = world.signed(fork, witnesses)

        def lie(name: str, answer: bytes) -> bytes:
            if name == "checkpoint":
                return note
            return fork.file(name) if name.startswith("tile/") and fits(name, fork.size) else answer

        return lie

    return make


def fits(path: str, size: int) -> bool:
    at = path_parse(path)
    level = 0 if isinstance(at.level, str) else at.level
    return at.n * 256 + at.width <= size >> 8 * level


def rewritten(world: World) -> Log:
    """The log as if the tenant's newest event had been another one."""
    entries = list(world.log().entries)
    entries[5] = bytes(32)
    return Log(entries)


def event_change(world: World, held: dict[str, Any]) -> dict[str, Any]:
    """The tale of another actor, told everywhere alike."""
    canonical = json.loads(base64.b64decode(held["canonical"]))
    canonical["actor"] = held["event"]["actor"] = "usr_somebody"
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return held | {"canonical": base64.b64encode(text.encode()).decode()}


def other_shown(world: World, held: dict[str, Any]) -> dict[str, Any]:
    """The newest event, with all that proves the one before it."""
    return world.receipt(1) | {"event": held["event"]}


def receipt_of_fork(world: World, held: dict[str, Any]) -> dict[str, Any]:
    """A receipt that is sound, under a history that only its reader is shown."""
    fork = rewritten(world)
    index = receipt_parse(held["proof"].encode()).index
    proof = receipt_format(receipt_build(fork, index, world.signed(fork, 0)))
    return held | {"proof": proof.decode()}


def root_change(world: World) -> bytes:
    found = checkpoint_peek(world.newest)
    text = checkpoint_format(Checkpoint(found.origin, found.size, bit_flip(found.root, 7)))
    return note_format(Note(text, note_parse(world.newest).signatures))


def origin_change(world: World) -> bytes:
    found = checkpoint_peek(world.newest)
    return note_sign(
        checkpoint_format(Checkpoint("kumoi.local/other", found.size, found.root)), [world.region.log]
    )


def forged(world: World, key: Signer) -> bytes:
    """The checkpoint with a signature of somebody else in the place of one of `key`."""
    note = note_parse(world.newest)
    cosigned = key.signature_type is SignatureType.COSIGNATURE_V1
    thief = Signer(key.name, b"\x33" * 32, key.signature_type)
    made = signature_make(note.text, thief, 1_800_000_000 if cosigned else None)
    replaced = [
        type(made)(made.name, one.key_id, made.blob) if one.name == key.name else one
        for one in note.signatures
    ]
    return note_format(Note(note.text, tuple(replaced)))


def cosigned_twice(world: World) -> bytes:
    """One witness's signature two times, none of the other."""
    note = note_parse(world.newest)
    log, first, _ = note.signatures
    return note_format(Note(note.text, (log, first, first)))


def truncated(world: World) -> bytes:
    """A shorter log, rightly signed by the plane; no witness saw it."""
    return world.signed(Log(world.log().entries[:-8]), 0)


@dataclass(frozen=True)
class Tampering:
    """A lie, and the words with which each verifier refuses it; empty where it cannot see it.

    A follower of the plane reads no entries but those of its receipts, and a receipt in a file is sound
    whatever somebody took it for: the report names its event. `older` is what only they notice who kept an
    older checkpoint (a follower always does).
    """

    make: Callable[[World], Lie]
    verify: str
    watch: str
    older: bool = False


def entry_change(entries: list[bytes]) -> None:
    entries[7] = bit_flip(entries[7], 3)


def entries_swap(entries: list[bytes]) -> None:
    entries[3], entries[4] = entries[4], entries[3]


TAMPERINGS = {
    "changed event text": Tampering(at_receipt(event_change), "does not lead", "does not lead"),
    "changed salt": Tampering(
        at_receipt(lambda world, held: held | {"salt": encoded_flip(held["salt"], 3)}),
        "does not lead",
        "does not lead",
    ),
    "changed proof": Tampering(
        at_receipt(lambda world, held: held | {"proof": held["proof"].replace("index ", "index 1", 1)}),
        "receipt",
        "receipt",
    ),
    "receipt of another event": Tampering(at_receipt(other_shown), "another event", "another event"),
    "another receipt, whole": Tampering(
        at_receipt(lambda world, held: world.receipt(1)), "", "was to be proven"
    ),
    "receipt under a fork": Tampering(at_receipt(receipt_of_fork), "two histories", "carries 0 of the 2"),
    "changed entry": Tampering(at_bundle(entry_change), "altered", ""),
    "dropped entry": Tampering(at_bundle(lambda entries: entries.__delitem__(9)), "ends inside entry", ""),
    "swapped entries": Tampering(at_bundle(entries_swap), "altered", ""),
    "inserted entry": Tampering(at_bundle(lambda entries: entries.insert(9, b"x")), "bytes too many", ""),
    "changed level-0 tile": Tampering(at_tile("tile/0/000"), "altered", ""),
    "changed level-1 tile": Tampering(at_tile("tile/1/000"), "altered", "does not lead"),
    "truncated tree": Tampering(at_checkpoint(truncated), "carries 0 of the 2", "carries 0 of the 2"),
    "wrong root": Tampering(at_checkpoint(root_change), "signature", "signature"),
    "another origin": Tampering(at_checkpoint(origin_change), "kumoi.local/other", "kumoi.local/other"),
    "forged log signature": Tampering(
        at_checkpoint(lambda world: forged(world, world.region.log)), "signature", "signature"
    ),
    "forged cosignature": Tampering(
        at_checkpoint(lambda world: forged(world, world.cosigners()[0])), "signature", "signature"
    ),
    "a cosignature twice": Tampering(at_checkpoint(cosigned_twice), "carries 1 of", "carries 1 of"),
    "fork that nobody saw": Tampering(at_history(0), "carries 0 of the 2", "carries 0 of the 2"),
    "fork that one witness saw": Tampering(at_history(1), "carries 1 of the 2", "carries 1 of the 2"),
    "older checkpoint as newest": Tampering(
        at_checkpoint(lambda world: world.before), "shortened", "cannot have grown", older=True
    ),
    "history rewritten with both witnesses": Tampering(
        at_history(2), "two histories", "does not lead", older=True
    ),
}


@pytest.fixture(params=TAMPERINGS.values(), ids=TAMPERINGS)
def tampering(request: pytest.FixtureRequest) -> Tampering:
    found: Tampering = request.param
    return found


def test_who_verifies_files_catches_it(
    world: World, kumoi: Callable[..., Ran], tampering: Tampering, tmp_path: Path
) -> None:
    mirror, receipt = tmp_path / "mirror", tmp_path / "receipt.json"
    shutil.copytree(world.mirror, mirror)
    shutil.copy(world.directory / "0.json", receipt)
    kept = tmp_path / "kept"
    kept.write_bytes(world.newest)
    beside = ("--old-checkpoint", kept) if tampering.older else ("--receipt", receipt)
    words = ("log", "verify", "--dir", mirror, *beside)
    assert kumoi(*words) == (0, "")
    lie = tampering.make(world)
    receipt.write_bytes(lie("receipt", receipt.read_bytes()))
    for path in [path for path in mirror.rglob("*") if path.is_file()]:
        path.write_bytes(lie(path.relative_to(mirror).as_posix(), path.read_bytes()))
    code, said = kumoi(*words)
    assert (code, tampering.verify in said) == (8 if tampering.verify else 0, True), said


def watch(world: World, *words: object) -> Ran:
    """`kumoi log watch` as a process of its own, which leaves no reader of the stream behind."""
    done = subprocess.run(
        [sys.executable, "-m", "kumoi.main", *map(str, words), *world.region.trust, "--json"],
        env=os.environ | {"KUMOI_URL": world.liar.url, "KUMOI_TOKEN": world.token, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    world.liar.streams_end()
    return done.returncode, done.stderr


def test_who_follows_the_plane_catches_it(world: World, tampering: Tampering, tmp_path: Path) -> None:
    """The follower was away for a while: what it kept is an older checkpoint."""
    for name in ("honest", "lied"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint").write_bytes(world.before if not tampering.older else world.newest)
    seen = receipt_parse(world.receipt(0)["proof"].encode()).index
    follow = ("log", "watch", "--after", seen - 1, "--count", "1", "--interval", "1s")
    assert watch(world, *follow, tmp_path / "honest") == (0, "")
    with world.liar.lying(tampering.make(world)):
        code, said = watch(world, *follow, tmp_path / "lied")
    assert (code, tampering.watch in said) == (8 if tampering.watch else 0, True), said


@pytest.mark.parametrize(
    "lied",
    [
        "truncated tree",
        "wrong root",
        "another origin",
        "forged log signature",
        "forged cosignature",
        "a cosignature twice",
        "fork that nobody saw",
        "fork that one witness saw",
    ],
)
def test_an_export_under_a_checkpoint_that_is_none_is_caught(
    world: World, kumoi: Callable[..., Ran], lied: str, tmp_path: Path
) -> None:
    file = tmp_path / "export.json"
    held = json.loads((world.directory / "export.json").read_bytes())
    file.write_text(json.dumps(held))
    assert kumoi("log", "verify", "--export", file) == (0, "")
    lie = TAMPERINGS[lied]
    changed = lie.make(world)("checkpoint", held["checkpoint"].encode())
    file.write_text(json.dumps(held | {"checkpoint": changed.decode()}))
    code, said = kumoi("log", "verify", "--export", file)
    assert (code, lie.verify in said) == (8, True), said
