"""Answers of writes, encoded once: what the caller gets is what the idempotency key keeps."""

import msgspec

from kumoi.model.idempotency import Written

_encoder = msgspec.json.Encoder()


def answer(status: int, body: msgspec.Struct, version: int | None = None) -> Written:
    """`body` as JSON; the row version becomes the ETag."""
    return Written(status, _encoder.encode(body), None if version is None else f'"{version}"')
