"""Ask one witness for its cosignature, over HTTP (C2SP tlog-witness).

A witness is somebody else's. Whatever it answers, and however slowly, costs a bounded time and a bounded
memory and changes nothing for the next question, which has a connection of its own. No redirect is followed,
no cookie taken, nothing decoded.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpcore

from kumoi.ledger.checkpoint import Checkpoint, cosignature_verify
from kumoi.ledger.encoding import decimal_parse, utf8_parse
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import MAX_NOTE_BYTES, Signature, VerifierKey, signatures_parse
from kumoi.ledger.witness import (
    ADD_CHECKPOINT_PATH,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    add_checkpoint_format,
)
from kumoi.loops.deadline import DeadlineBackend

ASK_S = 5.0
"""A witness has so long for its answer, whole."""
TRIES_MAX = 3
"""The first may be told where the witness is; before the second another plane may have asked."""

Prove = Callable[[int, int], tuple[bytes, ...]]
"""The consistency proof from an older size to a newer one."""

_HEADERS: Mapping[bytes | str, bytes | str] = {
    "content-type": "text/plain; charset=utf-8",
    "accept-encoding": "identity",
}
_NETWORK = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)
_log = logging.getLogger(__name__)


class WitnessFailed(Exception):
    """The witness did not cosign; the message says why in words of ours, fit for everybody to read."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a witness is asked, and the key that its cosignature must verify with."""

    url: str
    key: VerifierKey


def cosignature_ask(
    witness: Witness, checkpoint: Checkpoint, note: bytes, known: int, prove: Prove
) -> Signature:
    """The verified cosignature of `checkpoint`, signed as `note`, by a witness last known at size `known`.

    Raises WitnessFailed where there is none: it does not answer, refuses, or has seen more than the log has.
    """
    end_s = time.monotonic() + ASK_S
    url = f"{witness.url.rstrip('/')}/{ADD_CHECKPOINT_PATH}"
    with httpcore.ConnectionPool(network_backend=DeadlineBackend(end_s)) as http:
        for _ in range(TRIES_MAX):
            request = AddCheckpoint(known, prove(known, checkpoint.size), note)
            status, media_type, answer = _post(http, url, add_checkpoint_format(request))
            if status == HTTPStatus.OK:
                return _own_signature(answer, witness.key, checkpoint)
            known = _known_told(status, media_type, answer)
            if known > checkpoint.size:
                raise WitnessFailed("it cosigned more entries than the log has: the log was set back")
    raise WitnessFailed(f"its size changed {TRIES_MAX} times while it was asked")


def _post(http: httpcore.ConnectionPool, url: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body of the answer, which is never longer than a note may be."""
    received = bytearray()
    try:
        with http.stream("POST", url, headers=_HEADERS, content=body) as answer:
            for chunk in answer.iter_stream():
                received += chunk
                if len(received) > MAX_NOTE_BYTES:
                    raise WitnessFailed(f"its answer is longer than {MAX_NOTE_BYTES} bytes")
            headers = {name.lower(): value for name, value in answer.headers}
            return answer.status, headers.get(b"content-type", b"").decode("latin-1"), bytes(received)
    # A host name that is none is a ValueError.
    except (*_NETWORK, OSError, ValueError) as error:
        _log.info("%s: %s", url, str(error) or type(error).__name__)
        raise WitnessFailed("it does not answer") from error


def _known_told(status: int, media_type: str, answer: bytes) -> int:
    """The size that the witness says it is at; WitnessFailed where it says something else."""
    if status == HTTPStatus.CONFLICT and media_type == SIZE_MEDIA_TYPE:
        return _size(answer)
    if status == HTTPStatus.CONFLICT:
        raise WitnessFailed("it cosigned another tree of this size: the log shows two histories")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise WitnessFailed("it cosigned what this log does not contain: the log was rewritten")
    raise WitnessFailed(f"it answered {status}")


def _own_signature(answer: bytes, key: VerifierKey, checkpoint: Checkpoint) -> Signature:
    """The signature line of `key` among those answered; others are ignored, as the specification demands."""
    try:
        for signature in signatures_parse(answer):
            if (signature.name, signature.key_id) == (key.name, key.key_id):
                cosignature_verify(checkpoint, signature, key)
                return signature
    except LedgerError as error:
        raise WitnessFailed("its cosignature does not verify") from error
    raise WitnessFailed("its answer has no signature of its key")


def _size(answer: bytes) -> int:
    try:
        return decimal_parse(utf8_parse(answer, "a size").removesuffix("\n"), "a size")
    except LedgerError as error:
        raise WitnessFailed("its answer is no size") from error
