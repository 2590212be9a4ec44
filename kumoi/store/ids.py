"""Fresh identifiers: UUIDv7 (RFC 9562), strictly increasing within a process, the cell in the low 16 bits."""

import os
import threading
import time

from kumoi.model.ids import IdKind, id_format

_TICKS_PER_MS = 4096
_lock = threading.Lock()
_last_tick = 0


def id_new(kind: IdKind, cell: int = 0) -> str:
    """A new identifier of `kind`, made in `cell` (0..65535)."""
    return ids_new(kind, 1, cell)[0]


def ids_new(kind: IdKind, count: int, cell: int = 0) -> list[str]:
    """`count` new identifiers in increasing order."""
    global _last_tick
    now_tick = time.time_ns() * _TICKS_PER_MS // 1_000_000
    with _lock:
        first = max(now_tick, _last_tick + 1)
        _last_tick = first + count - 1
    tail = os.urandom(6 * count)
    suffix = cell.to_bytes(2, "big")
    return [id_format(kind, _uuid7_head(first + i, tail[6 * i : 6 * i + 6]) + suffix) for i in range(count)]


def id_ago(kind: IdKind, ago_s: int) -> str:
    """The least identifier of `kind` that may have been made in the last `ago_s` seconds."""
    tick = time.time_ns() * _TICKS_PER_MS // 1_000_000 - ago_s * 1_000 * _TICKS_PER_MS
    return id_format(kind, _uuid7_head(tick, bytes(6)) + bytes(2))


def _uuid7_head(tick: int, random6: bytes) -> bytes:
    """The first 14 bytes: 48 bits of milliseconds, version 7, 12 bits below them, variant, 46 random bits."""
    milliseconds, fraction = divmod(tick, _TICKS_PER_MS)
    head = (milliseconds << 16 | 0x7000 | fraction).to_bytes(8, "big")
    return head + bytes([0x80 | random6[0] & 0x3F]) + random6[1:]
