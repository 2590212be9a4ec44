"""Organizations' keys: sealing for requests."""

from kumoi.app.plane import Plane
from kumoi.model.errors import Conflict, KumoiError, Unavailable
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn, SealBroken
from kumoi.store.keys.names import Sealed, SealedName


async def seal(plane: Plane, name: SealedName, value: bytes) -> Sealed:
    """`value`, sealed with its organization's key. Raises Conflict or Unavailable."""
    try:
        await plane.keys.ready(name.organization_id)
        return plane.keys.seal(name, value)
    except KeyFailure as error:
        raise key_answer(error) from error


async def unseal(plane: Plane, name: SealedName, sealed: Sealed) -> bytes:
    """What was sealed under this name. Raises Conflict or Unavailable."""
    try:
        await plane.keys.ready(name.organization_id)
        return plane.keys.open(name, sealed)
    except KeyFailure as error:
        raise key_answer(error) from error


def key_answer(error: KeyFailure) -> KumoiError:
    """What a caller is told when a key does not serve."""
    match error:
        case KeyWithdrawn():
            return Conflict(
                "key_withdrawn",
                "the key of {organization} is withdrawn ({cause}), so nothing sealed with it is read "
                "or written; its administrator restores it with `kumoi key restore`",
                organization=error.organization_id,
                cause=error.cause,
            )
        case SealBroken():
            return Unavailable(
                "seal_broken",
                "what is stored does not open with the key that sealed it; tell the operator the request id",
            )
    return Unavailable(
        "key_unavailable", "the key cannot be had now; send the same request again in a few seconds"
    )
