"""Bodies of HTTP/1.1 messages on their way through: where they end, and nothing about what they hold."""

import re
from typing import Final

LINE_BYTES_MAX: Final = 256
TRAILER_BYTES_MAX: Final = 8_192
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")


class BodyBroken(Exception):
    """The chunks are not what RFC 9112, 7.1, says; nothing after this can be trusted."""


class Body:
    """One message's body: a number of bytes, chunks, or all until the connection ends.

        passed, rest = body.feed(data)

    `passed` goes on to the other side; `rest` belongs to the next message and is only there once `done`.
    Chunks are written anew, without extensions and trailers, so that both sides read one framing;
    with `unchunk` only their contents are passed on, for a client of HTTP/1.0.
    """

    __slots__ = ("_buffer", "_chunked", "_in_trailer", "_left", "_trailer_bytes", "_unchunk", "done")

    def __init__(self, length: int | None, *, unchunk: bool = False) -> None:
        self._chunked = length is None
        self._left = 0 if length is None else length
        self._unchunk = unchunk
        self._buffer = b""
        self._in_trailer = False
        self._trailer_bytes = 0
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What goes on, and what is left over after the end. BodyBroken if the framing is."""
        if self._chunked:
            return self._chunks(data)
        if self._left < 0:
            return data, b""
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        end = self._left
        self._left = 0
        self.done = True
        return data[:end], data[end:]

    def _chunks(self, data: bytes) -> tuple[bytes, bytes]:
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left > 2:  # a chunk's content; the last two are its CR LF
                piece = data[at : at + self._left - 2]
                out.append(piece if self._unchunk else b"%x\r\n%b\r\n" % (len(piece), piece))
                self._left -= len(piece)
                at += len(piece)
                continue
            if self._left:
                if len(data) - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BodyBroken("a chunk is longer than its size")
                self._left = 0
                at += 2
                continue
            end = data.find(b"\r\n", at, at + LINE_BYTES_MAX)
            if end < 0:
                if len(data) - at >= LINE_BYTES_MAX:
                    raise BodyBroken("a chunk's size or trailer line is too long")
                break
            line = data[at:end]
            at = end + 2
            if self._line_end(line):
                if not self._unchunk:
                    out.append(b"0\r\n\r\n")
                return b"".join(out), data[at:]
        self._buffer = data[at:]
        return b"".join(out), b""

    def _line_end(self, line: bytes) -> bool:
        """Take a line between chunks; whether it was the last."""
        if self._in_trailer:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_BYTES_MAX:
                raise BodyBroken("the trailers are too long")
            self.done = not line
            return self.done
        size = _SIZE.fullmatch(line)
        if size is None:
            raise BodyBroken("a chunk's size is not a hexadecimal number")
        length = int(size[1], 16)
        if length:
            self._left = length + 2
        else:
            self._in_trailer = True
        return False
