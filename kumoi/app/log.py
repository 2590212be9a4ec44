"""The operations log, for anybody: checkpoint, tiles and key. Nothing in it tells what an event says."""

from kumoi.app.plane import Plane, not_found
from kumoi.ledger.errors import BoundsError, PathError
from kumoi.ledger.tiles import TileAddress, address_check, path_parse
from kumoi.store import log
from kumoi.store.database import Connection


async def log_checkpoint(plane: Plane) -> bytes:
    """The newest signed checkpoint. Raises NotFound before the log has an entry."""
    head = await plane.store.read(log.head_read, plane.region.log_origin)
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
    found = await plane.store.read(_tile, plane.region.log_origin, address)
    if found is None:
        raise not_found("tile")
    return found


async def log_vkey(plane: Plane) -> str:
    """The verifier key of the log (C2SP signed-note)."""
    return plane.region.log_vkey


def _tile(connection: Connection, origin: str, address: TileAddress) -> bytes | None:
    head = log.head_read(connection, origin)
    try:
        address_check(address, 0 if head is None else head.size)
    except BoundsError:
        return None
    if isinstance(address.level, int):
        return log.tile_read(connection, address.level, address.n, address.width)
    return log.bundle_read(connection, address.n, address.width)
