"""The two text encodings of every C2SP format, read strictly: one value has exactly one spelling."""

import base64
import re
from typing import Final

from kumoi.ledger.errors import FormatError

MAX_INTEGER: Final = 2**63 - 1
"""The largest tree size, index or time: what a signed 64-bit integer holds everywhere."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SHOWN_CHARACTERS = 80


def text_shown(text: str) -> str:
    """`text` fit for an error message: quoted, escaped and short."""
    return ascii(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def decimal_parse(text: str, what: str) -> int:
    """An ASCII decimal without leading zeroes, at most `MAX_INTEGER`."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_INTEGER:
        raise FormatError(
            f"{what} must be a decimal number from 0 to {MAX_INTEGER} without leading zeroes,"
            f" not {text_shown(text)}"
        )
    return int(text)


def base64_parse(text: str, what: str, length_bytes: int | None = None) -> bytes:
    """Standard padded base64 (RFC 4648 section 4) of `length_bytes` bytes, unused bits zero."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"{what} is not base64: {text_shown(text)}") from error
    if base64_format(raw) != text:
        raise FormatError(f"{what} is not canonical base64: {text_shown(text)}")
    if length_bytes is not None and len(raw) != length_bytes:
        raise FormatError(f"{what} must be {length_bytes} bytes in base64, not {len(raw)}")
    return raw


def base64_format(raw: bytes) -> str:
    """Standard padded base64."""
    return base64.b64encode(raw).decode("ascii")


def utf8_parse(data: bytes, what: str) -> str:
    """`data` as text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8 at byte {error.start}") from error


def utf8_format(text: str, what: str) -> bytes:
    """`text` as bytes; lone surrogates are refused."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"{what} cannot be written as UTF-8 at character {error.start}") from error
