"""Ask one witness for its cosignature, over HTTP (C2SP tlog-witness)."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from kumoi.ledger.checkpoint import Checkpoint, cosignature_verify
from kumoi.ledger.encoding import decimal_parse, text_shown, utf8_parse
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import MAX_NOTE_BYTES, Signature, VerifierKey, signatures_parse
from kumoi.ledger.witness import (
    ADD_CHECKPOINT_PATH,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    add_checkpoint_format,
)

TIMEOUT_S = 5.0
ASKS_MAX = 3
"""The first may be told where the witness is; between that and the second another plane may have asked."""

Prove = Callable[[int, int], tuple[bytes, ...]]
"""The consistency proof from an older size to a newer one."""


class WitnessFailed(Exception):
    """The witness did not cosign; the message says why."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a witness is asked, and the key that its cosignature must verify with."""

    url: str
    key: VerifierKey


def cosignature_ask(
    client: httpx.Client, witness: Witness, checkpoint: Checkpoint, note: bytes, known: int, prove: Prove
) -> Signature:
    """The verified cosignature of `checkpoint`, signed as `note`, by a witness last known at size `known`.

    Raises WitnessFailed where there is none: it does not answer, refuses, or has seen more than the log has.
    """
    for _ in range(ASKS_MAX):
        body = add_checkpoint_format(AddCheckpoint(known, prove(known, checkpoint.size), note))
        status, media_type, answer = _post(client, f"{witness.url.rstrip('/')}/{ADD_CHECKPOINT_PATH}", body)
        if status == httpx.codes.OK:
            return _own_signature(answer, witness.key, checkpoint)
        if status != httpx.codes.CONFLICT or media_type != SIZE_MEDIA_TYPE:
            raise WitnessFailed(f"it answered {status}: {text_shown(answer.decode('utf-8', 'replace'))}")
        known = _size(answer)
        if known > checkpoint.size:
            raise WitnessFailed(
                f"it cosigned {known} entries where the log has {checkpoint.size}: the log was set back"
            )
    raise WitnessFailed(f"its size changed {ASKS_MAX} times while it was asked")


def _post(client: httpx.Client, url: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body of the answer, as much of it as a note may have."""
    received = bytearray()
    try:
        with client.stream("POST", url, content=body) as answer:
            for chunk in answer.iter_bytes():
                received += chunk
                if len(received) > MAX_NOTE_BYTES:
                    raise WitnessFailed(f"its answer is longer than {MAX_NOTE_BYTES} bytes")
            return answer.status_code, answer.headers.get("content-type", ""), bytes(received)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise WitnessFailed(f"it does not answer: {str(error) or type(error).__name__}") from error


def _own_signature(answer: bytes, key: VerifierKey, checkpoint: Checkpoint) -> Signature:
    """The signature line of `key` among those answered; others are ignored, as the specification demands."""
    try:
        for signature in signatures_parse(answer):
            if (signature.name, signature.key_id) == (key.name, key.key_id):
                cosignature_verify(checkpoint, signature, key)
                return signature
    except LedgerError as error:
        raise WitnessFailed(f"its cosignature is none: {error}") from error
    raise WitnessFailed(f"its answer has no signature of {key.name}")


def _size(answer: bytes) -> int:
    try:
        return decimal_parse(utf8_parse(answer, "a size").removesuffix("\n"), "a size")
    except LedgerError as error:
        raise WitnessFailed(f"its answer is none: {error}") from error
