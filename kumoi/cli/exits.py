"""How the command line ends. docs/tenant/cli.md has the same table, and a test holds them together."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    AUTHENTICATION = 4
    NOT_FOUND = 5
    CONFLICT = 6
    JOB_FAILED = 7
    VERIFICATION_FAILED = 8
    TIMEOUT = 124
    INTERRUPTED = 130
