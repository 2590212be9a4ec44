"""Paths of tiles, tiles, entry bundles, and whole logs that somebody serves."""

from collections.abc import Iterator
from contextlib import suppress

from fuzz.material import LOG, WITNESS_KEYS, log_made
from kumoi.ledger.checkpoint import CHECKPOINT_PATH
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.tiles import bundle_decode, bundle_encode, path_parse, tile_path, tile_prefix
from kumoi.ledger.verify import log_verify

FILES = (
    "tile/entries/000",
    "tile/entries/001.p/44",
    "tile/0/000",
    "tile/0/001.p/44",
    "tile/1/000.p/1",
    CHECKPOINT_PATH,
)


def seeds() -> Iterator[bytes]:
    """Paths, and every file of a log behind the number of its path."""
    for number, path in enumerate(FILES[:-1]):
        yield path.encode()
        yield bytes([number]) + log_made().file(path)


def check(data: bytes) -> None:
    """As a path, as a bundle, as a tile; and in the place of a file of an honest log: never accepted."""
    with suppress(LedgerError):
        text = data.decode("latin-1")
        at = path_parse(text)
        assert tile_path(at.level, at.n, at.width) == text
    if not data:
        return
    width, body = data[0], data[1:]
    with suppress(LedgerError):
        assert bundle_encode(bundle_decode(body, width)) == body
    with suppress(LedgerError):
        assert len(tile_prefix(body, width)) == 32 * width
    log, name = log_made(), FILES[width % len(FILES)]
    honest = {path: log.file(path) for path in FILES[:-1]} | {CHECKPOINT_PATH: log.checkpoint}
    served = honest | {name: body}
    with suppress(LedgerError):
        log_verify(served.__getitem__, LOG.key, witnesses=WITNESS_KEYS, quorum=2)
        assert name == CHECKPOINT_PATH or body == honest[name], f"another {name} was accepted"
