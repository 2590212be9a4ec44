"""The access log: one JSON line a request, written in batches so that a request pays next to nothing."""

import asyncio
import logging
import time

import msgspec

logger = logging.getLogger("kumoi.access")
BATCH_MAX = 1_000


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request as the log keeps it: never its body, token, query string or path parameters."""

    at_ms: int
    method: str
    route: str
    status: int
    ms: float
    request_id: str
    actor: str | None = None


class AccessLog:
    """Collects lines and hands them to `logging` once per interval, as one record of many lines."""

    def __init__(self, flush_s: float) -> None:
        self._flush_s = flush_s
        self._lines: list[AccessLine] = []
        self._timer: asyncio.TimerHandle | None = None
        self._encoder = msgspec.json.Encoder()

    def add(
        self, method: str, route: str, status: int, seconds: float, request_id: str, actor: str | None
    ) -> None:
        """Keep a line; the batch is written when it is full or its interval is over."""
        if not logger.isEnabledFor(logging.INFO):
            return
        ms = round(seconds * 1_000, 2)
        line = AccessLine(time.time_ns() // 1_000_000, method, route, status, ms, request_id, actor)
        self._lines.append(line)
        if len(self._lines) >= BATCH_MAX:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._flush_s, self.flush)

    def flush(self) -> None:
        """Write what was kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            logger.info(self._encoder.encode_lines(lines).decode().rstrip("\n"))


def access_log_configure() -> None:
    """Write access lines as they are to standard error, past any formatter of the root logger."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
