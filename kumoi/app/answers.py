"""Answers of writes, encoded once: what the caller gets is what the idempotency key keeps."""

import msgspec

from kumoi.model.idempotency import Written

_encoder = msgspec.json.Encoder()


def answer(status: int, body: msgspec.Struct, version: int | None = None) -> Written:
    """`body` as JSON; the row version becomes the ETag."""
    return Written(status, _encoder.encode(body), None if version is None else f'"{version}"')


def etag_matches(if_match: str, version: int | None) -> bool:
    """Whether an If-Match holds for a resource of `version`, None for one that does not exist (RFC 9110
    section 13.1.1). Weak tags never match."""
    if version is None:
        return False
    return if_match.strip() == "*" or f'"{version}"' in [tag.strip() for tag in if_match.split(",")]
