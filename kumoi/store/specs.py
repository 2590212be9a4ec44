"""What a specification says that nobody but its organization reads: commands and environments, sealed.

Rows keep the rest in plain text, as loops need it (resources, retries, rules, names). One kind of name serves
jobs, services and revisions of a project, so that a replica takes its revision's blob as it is.
"""

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from kumoi.model.jobs import JobSpec
from kumoi.model.services import RevisionSpec
from kumoi.store.keys.ciphers import HEAD_BYTES
from kumoi.store.keys.names import Sealed, SealedName
from kumoi.store.schema import AnyRow

_Spec = TypeVar("_Spec", JobSpec, RevisionSpec)


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of a specification."""

    command: tuple[str, ...]
    environment: dict[str, str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Content)


def spec_seal_name(organization_id: str, project_id: str) -> SealedName:
    """What the content of a specification is sealed as."""
    return SealedName("spec", organization_id, (project_id,))


def content_pack(spec: JobSpec | RevisionSpec) -> bytes:
    """What is to be sealed of a specification."""
    return _encoder.encode(_Content(spec.command, spec.environment))


def content_strip(spec: _Spec) -> _Spec:
    """The specification without what is sealed of it."""
    return replace(spec, command=(), environment={})


def content_fill(spec: _Spec, packed: bytes) -> _Spec:
    """The specification with what `content_pack` took of it."""
    content = _decoder.decode(packed)
    return replace(spec, command=content.command, environment=content.environment)


def sealed_of(row: AnyRow) -> Sealed | None:
    """What is sealed of the specification in a row; None where there was nothing to seal."""
    return None if row.sealed is None else Sealed(row.sealed, row.key_version)


def content_same(one: AnyRow, other: AnyRow) -> bool:
    """Whether the contents of two rows come of the same sealing. Wrapping a key anew does not change that."""
    if one.sealed is None or other.sealed is None:
        return one.sealed is other.sealed
    return bytes(one.sealed[HEAD_BYTES:]) == bytes(other.sealed[HEAD_BYTES:])


def sealed_values(sealed: Sealed | None) -> dict[str, bytes | int | None]:
    """The columns of what is sealed."""
    return {
        "sealed": None if sealed is None else sealed.blob,
        "key_version": None if sealed is None else sealed.key_version,
    }
