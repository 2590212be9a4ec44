"""Whether the log has a gap that people are to be told of."""

from enum import StrEnum


class LogGap(StrEnum):
    """What does not get on."""

    PLACING = "placing"
    """Events wait for their place in the log."""
    PUBLISHING = "publishing"
    """The log grows, and nothing of it is published."""


def gap_decide(
    since_us: int | None, *, is_told: bool, watching_us: int, now_us: int, bound_us: int
) -> bool | None:
    """True where a gap is to be told of, False where the end of one is, None where nothing is.

    `since_us` is how far things got: what is older is done. None where nothing waits. A gap is counted from
    `watching_us` on at the earliest: a plane that was stopped has its time to catch up.
    """
    if is_told:
        is_over = since_us is None or now_us - since_us <= bound_us
        return False if is_over else None
    is_gap = since_us is not None and now_us - max(since_us, watching_us) > bound_us
    return True if is_gap else None
