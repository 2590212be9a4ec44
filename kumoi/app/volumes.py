"""Volumes: what requests need of them."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kumoi.app.keys import key_answer
from kumoi.app.plane import Plane
from kumoi.model.errors import KumoiError, Unavailable
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn
from kumoi.store.volumes.errors import VolumeUnavailable

_LOST = {errno.ENOTCONN, errno.ECONNABORTED}
"""What the kernel says of a volume whose process was killed."""


@asynccontextmanager
async def volume_opened(plane: Plane, organization_id: str) -> AsyncIterator[None]:
    """Have an organization's volume mounted, and believe nothing that was found in it if its key was
    withdrawn meanwhile. Raises Conflict (`key_withdrawn`) or Unavailable."""
    await volume_ensure(plane, organization_id)
    try:
        yield
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise _unavailable(error) from error
    finally:
        if plane.volumes.withdrawn(organization_id):
            await volume_ensure(plane, organization_id)


async def volume_ensure(plane: Plane, organization_id: str) -> None:
    """Have an organization's volume mounted. Raises Conflict (`key_withdrawn`) or Unavailable."""
    try:
        await asyncio.to_thread(plane.volumes.ensure, organization_id)
    except KeyFailure as error:
        raise key_answer(error) from error
    except VolumeUnavailable as error:
        raise _unavailable(error) from error


async def volume_guarded(
    plane: Plane, organization_id: str, parts: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """The same parts, for as long as the organization's key is not withdrawn. Raises Conflict then."""
    try:
        async for part in parts:
            if plane.volumes.withdrawn(organization_id):
                raise key_answer(KeyWithdrawn(organization_id, "while its data was read"))
            yield part
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


def _unavailable(error: Exception) -> KumoiError:
    return Unavailable(
        "volume_unavailable",
        "the volume of the organization cannot be reached now ({reason}); try again later",
        reason=str(error),
    )
