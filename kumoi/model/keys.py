"""Organizations' keys: who holds them, and what follows when they are withdrawn."""

from enum import StrEnum


class OnWithdraw(StrEnum):
    """What becomes of running work when its organization withdraws its key."""

    CONTINUE = "continue"
    END = "end"
