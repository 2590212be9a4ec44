"""What sealed things are, in the bytes that AES-GCM authenticates beside them."""

from dataclasses import dataclass

FORMAT = "kumoi-seal/v1"


@dataclass(frozen=True, slots=True)
class SealedName:
    """What a sealed thing is and whose. Opening it with any other name fails.

    `owner` are the identifiers that it belongs to, the widest first, such as project and name.
    """

    kind: str
    organization_id: str
    owner: tuple[str, ...] = ()

    def content(self) -> bytes:
        """Authenticated with the content. Its key is the data key, which has no version."""
        return additional("content", self.organization_id, self.kind, *self.owner)

    def data_key(self, key_version: int) -> bytes:
        """Authenticated with the data key that an organization key of `key_version` wraps."""
        return additional("data-key", self.organization_id, str(key_version), self.kind, *self.owner)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the store keeps of a sealed thing: the wrapped data key and the content in `blob`."""

    blob: bytes
    key_version: int


def organization_key_additional(organization_id: str, key_version: int, kek: str) -> bytes:
    """Authenticated with the organization key that the key-encryption key `kek` wraps."""
    return additional("organization-key", organization_id, str(key_version), kek)


def additional(layer: str, *parts: str) -> bytes:
    """The parts, joined so that no two lists give the same bytes. Raises ValueError for a part with a NUL."""
    joined = "\0".join((FORMAT, layer, *parts))
    if joined.count("\0") != len(parts) + 1:
        raise ValueError(f"what is sealed as {layer} must be named without NUL characters")
    return joined.encode()
