"""Checkpoints and cosignatures: nothing but what the keys signed may open."""

from collections.abc import Iterator
from contextlib import suppress

from fuzz.material import LOG, WITNESS_KEYS, log_made
from kumoi.ledger.checkpoint import (
    checkpoint_format,
    checkpoint_open,
    checkpoint_parse,
    checkpoint_peek,
)
from kumoi.ledger.errors import LedgerError


def seeds() -> Iterator[bytes]:
    """Checkpoints of several sizes, and one without signatures."""
    for size in (8, 256, 300):
        yield log_made(size).checkpoint
    yield log_made().checkpoint.partition(b"\n\n")[0] + b"\n"


def check(data: bytes) -> None:
    """What opens is a state that the log really signed; text is written as it was read."""
    with suppress(LedgerError):
        opened = checkpoint_open(data, LOG.key, witnesses=WITNESS_KEYS, quorum=2)
        signed = {checkpoint_peek(log_made(size).checkpoint) for size in (8, 256, 300)}
        assert opened.checkpoint in signed, "a checkpoint was forged"
    with suppress(LedgerError):
        checkpoint_peek(data)
    with suppress(LedgerError, UnicodeDecodeError):
        text = data.decode()
        assert checkpoint_format(checkpoint_parse(text)) == text
