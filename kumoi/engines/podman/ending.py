"""What the end of a container means: from podman's status, what it told, and the last words in the log."""

import errno
import os
import re

from kumoi.engines.podman.watch import ContainerWatch
from kumoi.engines.sandbox.ending import NOT_EXECUTABLE, NOT_FOUND, End, code_split

_INIT_FAILED = "failed to exec pid1: "
"""What catatonit, the container's first process, says when it cannot execute the command."""

_INIT_STATUS = 1


def container_end_of(status: int, watch: ContainerWatch, out_of_memory: bool, command: list[str]) -> End:
    """The end of a container of which everything is gone.

    START_FAILED is tried again, so it is said only where podman said that it did not start the container.
    One that nobody saw end is lost.
    """
    code, number = (None, None) if watch.exit_code is None else code_split(watch.exit_code)
    if watch.cause is not None:
        return End(watch.cause, code, number, "")
    if out_of_memory or watch.out_of_memory:
        return End("memory", code, number, "")
    complaint = watch.logs.complaint
    if watch.exit_code is not None:
        why = complaint.partition(_INIT_FAILED)[2]
        if code == _INIT_STATUS and why and complaint.startswith("ERROR (catatonit:"):
            shell_code = NOT_FOUND if why == os.strerror(errno.ENOENT) else NOT_EXECUTABLE
            why = why if why in map(os.strerror, errno.errorcode) else "it cannot be executed"
            return End("exited", shell_code, None, f"the command cannot be run: {why}")
        return End("signalled" if number else "exited", code, number, "")
    if watch.set_up or os.WIFSIGNALED(status):
        return End("host_lost", None, None, "the container's monitor was killed")
    why = (
        _redact(complaint, command).rpartition("\n")[2]
        or f"podman ended with status {os.WEXITSTATUS(status)}"
    )
    return End("start_failed", None, None, f"the container cannot be started: {why}")


def _redact(complaint: str, command: list[str]) -> str:
    """The complaint without the command: that is its tenant's and sealed, a detail is not."""
    for word in filter(None, command):
        complaint = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "...", complaint)
    return complaint
