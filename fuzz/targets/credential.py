"""Tokens and cursors: what a client shows us back."""

from collections.abc import Iterator
from contextlib import suppress

from kumoi.app.pages import Cursors
from kumoi.core.tokens import SECRET_BYTES, token_format, token_hash
from kumoi.model.errors import KumoiError

CURSORS = Cursors(b"\x09" * 32)
LISTING = "jobs/prj_1"
POSITION = "job_00000000000000000000000001"


def seeds() -> Iterator[bytes]:
    """A token, a cursor, and a cursor of another list."""
    yield token_format(b"\x0a" * SECRET_BYTES).encode()
    yield CURSORS.seal(LISTING, POSITION).encode()
    yield CURSORS.seal("other", POSITION).encode()


def check(data: bytes) -> None:
    """Only what the plane sealed opens."""
    text = data.decode("utf-8", "surrogateescape")
    hashed = token_hash(text) if text.isprintable() else None
    assert hashed is None or len(hashed) == 32
    with suppress(KumoiError):
        assert CURSORS.open(LISTING, text) == POSITION, "a cursor was forged"
