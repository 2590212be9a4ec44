"""Months in Japan time, which has no summer time: what budgets are counted by."""

from datetime import UTC, datetime, timedelta, timezone

_JAPAN = timezone(timedelta(hours=9))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def month_of(at_us: int) -> tuple[str, int]:
    """The month (`2026-11`) in which `at_us` lies, and its first microsecond UTC."""
    local = (_EPOCH + at_us * _US).astimezone(_JAPAN)
    first = datetime(local.year, local.month, 1, tzinfo=_JAPAN)
    return f"{local.year:04}-{local.month:02}", (first - _EPOCH) // _US
