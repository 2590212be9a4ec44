"""Organizations' keys: sealing for requests."""

from typing import TypeVar

from kumoi.app.plane import Plane
from kumoi.model.errors import Conflict, KumoiError, Unavailable
from kumoi.model.jobs import JobSpec
from kumoi.model.services import RevisionSpec
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn, SealBroken
from kumoi.store.keys.names import Sealed, SealedName
from kumoi.store.schema import AnyRow
from kumoi.store.specs import content_fill, content_pack, sealed_of, spec_seal_name

_Spec = TypeVar("_Spec", JobSpec, RevisionSpec)


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


async def spec_seal(
    plane: Plane, organization_id: str, project_id: str, spec: JobSpec | RevisionSpec
) -> Sealed:
    """The content of a specification, sealed. Raises Conflict or Unavailable."""
    return await seal(plane, spec_seal_name(organization_id, project_id), content_pack(spec))


def spec_open(plane: Plane, row: AnyRow, spec: _Spec) -> _Spec:
    """The specification of a row with its content; the key is `ready`. Raises Conflict or Unavailable."""
    sealed = sealed_of(row)
    if sealed is None:
        return spec
    try:
        packed = plane.keys.open(spec_seal_name(row.organization_id, row.project_id), sealed)
    except KeyFailure as error:
        raise key_answer(error) from error
    return content_fill(spec, packed)


async def spec_shown(plane: Plane, row: AnyRow, spec: _Spec) -> tuple[_Spec, str]:
    """The specification of a row with its content and "", or without it and the code of why."""
    try:
        await keys_ready(plane, row.organization_id)
        return spec_open(plane, row, spec), ""
    except KumoiError as error:
        return spec, error.code


async def keys_ready(plane: Plane, organization_id: str) -> None:
    """Have the organization's key in memory. Raises Conflict or Unavailable."""
    try:
        await plane.keys.ready(organization_id)
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
