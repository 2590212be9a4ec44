"""Commitments: what the public log holds instead of events.

The log is never pruned, so no personal or tenant data may enter it. Its entries are salted hashes; who
holds an event's bytes, its salt and its receipt can prove it, and nobody else learns anything.
"""

from hashlib import sha256
from typing import Final

from kumoi.ledger.errors import BoundsError

COMMITMENT_PREFIX: Final = b"kumoi-event/v1\n"
SALT_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
MAX_EVENT_BYTES: Final = 1 << 20


def event_commit(salt: bytes, event: bytes) -> bytes:
    """SHA-256("kumoi-event/v1\\n" || salt || event): the log entry of an event.

    `event` is the event's RFC 8785 canonical form; the empty event stands for padding, which is thereby
    indistinguishable from events until its salt is shown. `salt` is 32 random bytes, never used twice.
    """
    if len(salt) != SALT_BYTES:
        raise BoundsError(f"the salt of an event has {SALT_BYTES} bytes, not {len(salt)}")
    if len(event) > MAX_EVENT_BYTES:
        raise BoundsError(f"a canonical event has at most {MAX_EVENT_BYTES} bytes, not {len(event)}")
    return sha256(COMMITMENT_PREFIX + salt + event).digest()
