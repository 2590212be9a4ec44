"""Whose are the attempts that an engine lists?"""

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import Connection, select

from kumoi.store.schema import attempts, tombstones


class Claim(StrEnum):
    """What the store says about a reference that an engine holds."""

    LIVE = "live"
    ENDED = "ended"
    TOMBSTONE = "tombstone"
    UNKNOWN = "unknown"


def refs_claim(connection: Connection, refs: Sequence[str], incarnation: str) -> dict[str, Claim]:
    """The claim on each of `refs`. Unknown ones may be another region's and are never ended."""
    claims = dict.fromkeys(refs, Claim.UNKNOWN)
    buried = select(tombstones.c.ref).where(
        tombstones.c.ref.in_(refs), tombstones.c.incarnation == incarnation
    )
    claims |= dict.fromkeys(connection.execute(buried).scalars(), Claim.TOMBSTONE)
    known = select(attempts.c.id, attempts.c.state).where(attempts.c.id.in_(refs))
    for row in connection.execute(known):
        claims[row.id] = Claim.ENDED if row.state == "ended" else Claim.LIVE
    return claims
