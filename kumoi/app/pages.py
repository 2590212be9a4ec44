"""Pages of lists: keyset cursors, authenticated so that nobody can make one up."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import TypeVar

from kumoi.model.errors import Invalid
from kumoi.model.records import Page

_MAC_BYTES = 16
T = TypeVar("T")


class Cursors:
    """Seals the last key of a page together with the list that it belongs to."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, listing: str, position: str) -> str:
        """The cursor that continues `listing` after `position`."""
        body = position.encode()
        return base64.urlsafe_b64encode(self._mac(listing, body) + body).decode().rstrip("=")

    def open(self, listing: str, cursor: str | None) -> str | None:
        """The position in a cursor of this listing; raises Invalid for any other text."""
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(listing, body)):
                return body.decode()
        except (binascii.Error, ValueError):
            pass
        raise Invalid(
            "cursor_invalid",
            "the cursor is not of this list; take `next` of the page before it, or start without one",
            at="cursor",
        )

    def page(self, listing: str, rows: Sequence[T], limit: int, position: Callable[[T], str]) -> Page[T]:
        """The page of `rows`, of which one more than `limit` were asked for."""
        more = len(rows) > limit
        items = tuple(rows[:limit])
        return Page(items, self.seal(listing, position(items[-1])) if more else None)

    def _mac(self, listing: str, body: bytes) -> bytes:
        return hmac.digest(self._key, listing.encode() + b"\0" + body, hashlib.sha256)[:_MAC_BYTES]
