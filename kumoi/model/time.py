"""Time: int64 microseconds since 1970 in UTC inside, RFC 3339 with `Z` outside."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(4_096)
def time_format(at_us: int) -> str:
    """`at_us` as RFC 3339 in UTC, with microseconds."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds")[:-6] + "Z"


def time_parse(text: str) -> int:
    """Microseconds for an RFC 3339 time with an offset; ValueError otherwise."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"the time {text!r} has no offset; write it as 2026-01-31T09:00:00Z")
    try:
        return (parsed.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        raise ValueError(f"the time {text!r} is not within the years 1 to 9999 in UTC") from None
