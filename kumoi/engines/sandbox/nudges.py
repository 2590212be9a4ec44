"""Wake-ups from the supervisors: a named pipe that anyone may poke and nobody waits for."""

import contextlib
import os
import select
import threading
from pathlib import Path

from kumoi.engines.base import Nudge

_CHUNK = 1 << 16


class Nudges:
    """Reads the pipe in a thread and passes on one nudge for however many came at once."""

    def __init__(self, path: Path, nudge: Nudge) -> None:
        self.nudge = nudge
        if not path.is_fifo():
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop, self._stopper = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="sandbox-nudges", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        os.close(self._stopper)
        self._thread.join()
        os.close(self._pipe)
        os.close(self._stop)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while not any(descriptor == self._stop for descriptor, _ in poll.poll()):
            with contextlib.suppress(BlockingIOError):  # another engine on this directory was faster
                os.read(self._pipe, _CHUNK)
            self.nudge()
