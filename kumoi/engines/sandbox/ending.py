"""What an end means: from bubblewrap's status, what it told on the way, and what it complained of."""

import errno
import os
import signal
from typing import NamedTuple

from kumoi.engines.sandbox.watch import Watch

SIGNALLED_FROM = 128
"""bubblewrap, like a shell, exits with 128 + N when its command was ended by signal N."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell exits with (POSIX XCU 2.8.2) when the command is not there, or cannot be executed."""

_NOT_EXECUTABLE = (
    *(errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ETXTBSY),
    *(errno.ENAMETOOLONG, errno.E2BIG, errno.EINVAL, errno.ELIBBAD),
)


class End(NamedTuple):
    """How an attempt ended: an outcome, and either an exit code or a signal if there is one."""

    outcome: str
    exit_code: int | None
    signal: int | None
    detail: str


def end_of(status: int, watch: Watch, out_of_memory: bool, command: str) -> End:
    """The end of a sandbox of which everything is gone.

    START_FAILED is tried again, so it is said only of what certainly never ran. A bubblewrap that was killed
    tells nothing of its command: unless it was killed before it let its child begin, the attempt is lost.
    """
    by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code, number = (None, by_signal) if by_signal else code_split(os.WEXITSTATUS(status))
    if watch.exit_code is not None:
        code, number = code_split(watch.exit_code)
    if watch.cause is not None:
        return End(watch.cause, code, number, "")
    if out_of_memory:
        return End("memory", code, number, "")
    if watch.exit_code is not None:
        return End("signalled" if number else "exited", code, number, "")
    if by_signal and watch.set_up:
        return End("host_lost", None, None, f"the sandbox was killed from outside, by signal {by_signal}")
    complaint = watch.logs.complaint
    code = _shell_code(complaint, command)
    if code is not None:
        return End("exited", code, None, f"the command cannot be run: {complaint.rpartition(': ')[2]}")
    why = _why(complaint) or f"bubblewrap ended with status {status}"
    return End("start_failed", None, None, f"the command cannot be started: {why}")


def code_split(code: int) -> tuple[int | None, int | None]:
    """(exit code, None) or (None, signal)."""
    if SIGNALLED_FROM < code <= SIGNALLED_FROM + signal.SIGRTMAX:
        return None, code - SIGNALLED_FROM
    return code, None


def _why(complaint: str) -> str:
    """bubblewrap's last words. A command is its tenant's and sealed, a detail is neither: of what names the
    command, cut or not, the reason alone is taken."""
    _, found, rest = complaint.partition("execvp ")
    if not found:
        return complaint.rpartition("\n")[2]
    why = rest.rpartition(": ")[2]
    return why if why in map(os.strerror, errno.errorcode) else "bubblewrap cannot execute it"


def _shell_code(complaint: str, command: str) -> int | None:
    """What a shell would exit with if bubblewrap's last words are that the command is none; else None, since
    what the host lacks (memory, processes) is not the command's fault."""
    head, found, why = complaint.rpartition(f"execvp {command}: ")
    if not found or not head.endswith("bwrap: "):
        return None
    if why == os.strerror(errno.ENOENT):
        return NOT_FOUND
    return NOT_EXECUTABLE if why in map(os.strerror, _NOT_EXECUTABLE) else None
