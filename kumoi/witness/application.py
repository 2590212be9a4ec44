"""The witness over HTTP (C2SP tlog-witness): `POST /add-checkpoint`, and `GET /vkey` for its key."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from kumoi.ledger.errors import (
    HistoryError,
    LedgerError,
    MismatchError,
    ProofError,
    SignatureError,
    StaleSizeError,
)
from kumoi.ledger.witness import ADD_CHECKPOINT_PATH, MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE
from kumoi.witness.cosigner import Cosigner, UnknownLogError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_S = 10.0
_TEXT = "text/plain; charset=utf-8"
_STATUSES: tuple[tuple[type[LedgerError], int], ...] = (
    (UnknownLogError, 404),
    (SignatureError, 403),
    (HistoryError, 409),
    (ProofError, 422),
    (MismatchError, 500),
    (LedgerError, 400),
)
_log = logging.getLogger("kumoi.witness")


class WitnessApplication:
    """An ASGI application. It judges, writes and signs one request at a time: nothing of two interleaves."""

    def __init__(self, cosigner: Cosigner, vkey: str) -> None:
        self._cosigner = cosigner
        self._vkey = f"{vkey}\n".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix("/")
        if (scope["method"], path) == ("GET", "vkey"):
            status, media_type, answer = 200, _TEXT, self._vkey
        elif path != ADD_CHECKPOINT_PATH:
            status, media_type, answer = 404, _TEXT, b"a witness answers POST /add-checkpoint and GET /vkey\n"
        elif scope["method"] != "POST":
            status, media_type, answer = 405, _TEXT, b"send a checkpoint with POST\n"
        else:
            status, media_type, answer = await self._add(receive)
        headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _add(self, receive: Receive) -> tuple[int, str, bytes]:
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body_read(receive)
        except TimeoutError:
            return 408, _TEXT, b"the request did not come in time\n"
        if body is None:
            return 413, _TEXT, b"a request has at most %d bytes\n" % MAX_REQUEST_BYTES
        try:
            return 200, _TEXT, self._cosigner.cosign(body)
        except StaleSizeError as error:
            return 409, SIZE_MEDIA_TYPE, b"%d\n" % error.size
        except LedgerError as error:
            status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            _log.warning("refused with %d: %s", status, error)
            return status, _TEXT, f"{error}\n".encode()


async def _body_read(receive: Receive) -> bytes | None:
    """The body of a request, None where it is longer than any request may be."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            return None
        if event["type"] == "http.disconnect" or not event.get("more_body"):
            return bytes(body)
