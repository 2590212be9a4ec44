"""The operations log, for anybody: checkpoint, tiles and key. Nothing in it tells what an event says."""

from kumoi.app.plane import Plane, Region, not_found
from kumoi.ledger.errors import BoundsError, PathError
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.tiles import TileAddress, address_check, path_parse
from kumoi.model.time import time_format
from kumoi.model.witnesses import WitnessedLog, WitnessSeen
from kumoi.store import log
from kumoi.store.database import Connection
from kumoi.store.log import LogHead
from kumoi.store.witnesses import WitnessState, published_read, witness_states


def head_published(connection: Connection, region: Region) -> LogHead | None:
    """The newest head that may be shown. With witnesses it is the newest that enough of them cosigned."""
    if region.log_witnesses.witnesses:
        return published_read(connection, region.log_origin, region.log_rules)
    return log.head_read(connection, region.log_origin)


async def log_checkpoint(plane: Plane) -> bytes:
    """The newest published checkpoint. Raises NotFound before the log has an entry."""
    head = await plane.store.read(head_published, plane.region)
    if head is None:
        raise not_found("checkpoint")
    return head.checkpoint.encode()


async def log_tile(plane: Plane, path: str) -> bytes:
    """The tile or entry bundle at `path` below `/log/tile/` (C2SP tlog-tiles). Raises NotFound.

    What is answered once for a path is answered for ever.
    """
    try:
        address = path_parse(f"tile/{path}")
    except PathError:
        raise not_found("tile") from None
    found = await plane.store.read(_tile, plane.region, address)
    if found is None:
        raise not_found("tile")
    return found


async def log_vkey(plane: Plane) -> str:
    """The verifier key of the log (C2SP signed-note)."""
    return plane.region.log_vkey


async def log_witnesses(plane: Plane) -> WitnessedLog:
    """Who cosigns the log, how far each came, and how far the log is published."""
    return await plane.store.read(_witnesses, plane.region)


def _witnesses(connection: Connection, region: Region) -> WitnessedLog:
    head, published = log.head_read(connection, region.log_origin), head_published(connection, region)
    states = witness_states(connection)
    seen = []
    for one in region.log_witnesses.witnesses:
        state = states.get(one.vkey, WitnessState(one.vkey))
        seen.append(
            WitnessSeen(
                name=vkey_parse(one.vkey).name,
                vkey=one.vkey,
                size=state.size,
                cosigned_at=None if state.cosigned_us is None else time_format(state.cosigned_us),
                failure=state.failure,
                failed_at=None if state.failed_us is None else time_format(state.failed_us),
            )
        )
    return WitnessedLog(
        origin=region.log_origin,
        quorum=region.log_witnesses.quorum,
        size=0 if head is None else head.size,
        published_size=0 if published is None else published.size,
        witnesses=tuple(seen),
    )


def _tile(connection: Connection, region: Region, address: TileAddress) -> bytes | None:
    head = head_published(connection, region)
    try:
        address_check(address, 0 if head is None else head.size)
    except BoundsError:
        return None
    if isinstance(address.level, int):
        return log.tile_read(connection, address.level, address.n, address.width)
    return log.bundle_read(connection, address.n, address.width)
