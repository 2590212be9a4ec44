"""What a log asks a witness."""

from collections.abc import Iterator
from contextlib import suppress

from fuzz.material import LOG, log_made
from kumoi.ledger.checkpoint import checkpoint_peek
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.tree import consistency_prove
from kumoi.ledger.witness import AddCheckpoint, add_checkpoint_format, add_checkpoint_parse, checkpoint_judge

SIZES = (8, 256, 300)


def seeds() -> Iterator[bytes]:
    """A first request, and one that goes on from an earlier checkpoint."""
    log = log_made()
    yield add_checkpoint_format(AddCheckpoint(0, (), log.checkpoint))
    yield add_checkpoint_format(AddCheckpoint(8, consistency_prove(log, 8, 300), log.checkpoint))


def check(data: bytes) -> None:
    """What is parsed is written as it was read; a witness signs only what the log signed."""
    with suppress(LedgerError):
        request = add_checkpoint_parse(data)
        assert add_checkpoint_format(request) == data
        signed = [checkpoint_peek(log_made(size).checkpoint) for size in SIZES]
        for seen in (None, signed[0], signed[-1]):
            with suppress(LedgerError):
                assert checkpoint_judge(request, LOG.key, seen) in signed
