"""Run podman from a supervisor: bounded in time, without the weight of Python's subprocess."""

import os
import select
import signal
import time
from typing import NamedTuple

_CHUNK = 1 << 16
_OUTPUT_MAX = 1 << 20


class Podman(NamedTuple):
    """podman with the options that every call needs, and its whole environment."""

    argv: list[str]
    environment: dict[str, str]


def podman_spawn(podman: Podman, arguments: list[str], stdout: int, stderr: int) -> int:
    """Start podman; its process. OSError if it cannot be started."""
    return os.posix_spawn(
        podman.argv[0],
        [*podman.argv, *arguments],
        podman.environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stderr, 2)],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD],
    )


def podman_run(podman: Podman, arguments: list[str], timeout_s: float) -> bytes | None:
    """What podman wrote to both streams; None if it failed, or was killed since it took too long."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = podman_spawn(podman, arguments, writer, writer)
    except OSError:
        os.close(reader)
        return None
    finally:
        os.close(writer)
    try:
        output = _output_read(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
    if output is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return output if status == 0 else None


def _output_read(reader: int, until: float) -> bytes | None:
    """All that comes; None if it has not ended in time, or is too much."""
    output = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while (left := until - time.monotonic()) > 0 and len(output) <= _OUTPUT_MAX:
        if poll.poll(left * 1_000):
            part = os.read(reader, _CHUNK)
            if not part:
                return output
            output += part
    return None
