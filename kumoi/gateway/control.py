"""What the plane says to the gateway, over a Unix socket: a table in, reports out.

    PUT /table                                  204, or 409 {"version": N} where N is newer
    GET /report?wait_ms=N&table=V&woke=W        a GatewayReport, at once if the plane is needed
    GET /metrics                                OpenMetrics

`table` is the version that the asker believes to be in use; a report comes at once where it is another.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec

from kumoi.gateway.heads import HEAD_BYTES_MAX, RequestHead, request_parse
from kumoi.gateway.metrics import METRICS_TYPE, metrics_text
from kumoi.gateway.refusals import REASONS, Refusal, refusal_answer
from kumoi.gateway.table_file import table_keep
from kumoi.gateway.traffic import Traffic
from kumoi.model.errors import UNDECODABLE
from kumoi.model.routes import GatewayReport, RouteTable

TABLE_BYTES_MAX: Final = 64 << 20
WAIT_MS_MAX: Final = 1_000
IDLE_S: Final = 600.0
_log = logging.getLogger(__name__)

Report = Callable[[], Awaitable[GatewayReport]]


class Control:
    """The server of the plane's questions."""

    def __init__(self, traffic: Traffic, state_dir: Path, report: Report) -> None:
        self._traffic = traffic
        self._state_dir = state_dir
        self._report = report

    async def listen(self, place: Path) -> asyncio.Server:
        """Serve on a Unix socket that only this user may open; an older one is replaced."""
        draft = place.with_name(place.name + ".new")
        draft.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, draft, limit=HEAD_BYTES_MAX)
        draft.chmod(0o600)
        draft.replace(place)
        return server

    async def listen_metrics(self, host: str, port: int) -> asyncio.Server:
        """Serve the metrics, and nothing else, on a TCP port."""
        return await asyncio.start_server(self._serve_metrics, host, port, limit=HEAD_BYTES_MAX)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._converse(reader, writer, self._answer)

    async def _serve_metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._converse(reader, writer, self._answer_metrics)

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[RequestHead, bytes], Awaitable[bytes]],
    ) -> None:
        """Requests of one connection, one after the other."""
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            while True:
                async with asyncio.timeout(IDLE_S):
                    head = request_parse(await reader.readuntil(b"\r\n\r\n"))
                    if isinstance(head, RequestHead) and (
                        head.length is None or head.length > TABLE_BYTES_MAX
                    ):
                        head = Refusal(413, "table_too_large", "Send a table of at most 64 MiB, not chunked.")
                    if isinstance(head, Refusal):
                        writer.write(refusal_answer(head, b"control", close=True))
                        break
                    body = await reader.readexactly(head.length or 0)
                    writer.write(await answer(head, body))
                    await writer.drain()
                    if head.close:
                        break
        writer.close()

    async def _answer(self, head: RequestHead, body: bytes) -> bytes:
        if (head.method, head.path) == (b"PUT", b"/table"):
            return self._table_put(body)
        if (head.method, head.path) == (b"GET", b"/report"):
            return _json(200, await self._report_wait(head.query))
        return await self._answer_metrics(head, body)

    async def _answer_metrics(self, head: RequestHead, _body: bytes) -> bytes:
        if (head.method, head.path) != (b"GET", b"/metrics"):
            return refusal_answer(
                Refusal(404, "not_found", "There is /table, /report and /metrics."), b"control", close=False
            )
        await self._report()
        return _answer(200, METRICS_TYPE, metrics_text(self._traffic).encode())

    def _table_put(self, body: bytes) -> bytes:
        try:
            table = msgspec.json.decode(body, type=RouteTable)
        except UNDECODABLE as error:
            return refusal_answer(Refusal(400, "table_invalid", str(error)), b"control", close=False)
        current = self._traffic.table.version
        if table.version < current:
            return _json(409, {"version": current})
        try:
            table_keep(self._state_dir, table)
        except OSError as error:
            _log.error("the table cannot be kept, it is used all the same: %s", error)
        self._traffic.table_use(table)
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    async def _report_wait(self, query: bytes) -> GatewayReport:
        asked = parse_qs(query[1:].decode("latin-1"))
        wait_ms = min(_number(asked, "wait_ms", 0), WAIT_MS_MAX)
        known = _number(asked, "table", self._traffic.table.version)
        if wait_ms > 0 and known == self._traffic.table.version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1_000):
                    await self._traffic.attention.wait()
        return await self._report()


def _number(asked: dict[str, list[str]], name: str, missing: int) -> int:
    text = asked.get(name, [""])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else missing


def _json(status: int, value: object) -> bytes:
    return _answer(status, b"application/json", msgspec.json.encode(value))


def _answer(status: int, kind: bytes, body: bytes) -> bytes:
    reason = {200: "OK", 409: "Conflict"}.get(status) or REASONS[status]
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        reason.encode(),
        kind,
        len(body),
        body,
    )
