"""The engine's end of the fork-server: starts it, asks it, starts another one when it is gone."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.probe import PACKAGE_ROOT
from kumoi.engines.sandbox.task import Task

START_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_PER_TASK_S = 0.1
_STOP_TIMEOUT_S = 5.0
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; main()"


class Channel:
    """One fork-server at a time, the `main` of the module `program`. `hello` makes its setting when one is
    started; `errors` is its stderr."""

    def __init__(self, program: str, hello: Callable[[], dict[str, object]], errors: Path) -> None:
        self._program = _PROGRAM.format(module=program)
        self._hello = hello
        self._errors = errors
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._closed = False
        self.pid: int | None = None

    def warm(self) -> None:
        """Start the fork-server if it does not run. EngineUnavailable if it does not come up."""
        with self._lock:
            self._connect()

    def start(self, tasks: Sequence[Task]) -> dict[str, list[str]]:
        """Ask for attempts to be started: ref -> [answer, text].

        If the fork-server goes away meanwhile nobody knows which have started. Asking again is safe, so
        another one is asked, once. EngineUnavailable if that goes away too, or if one does not answer in
        time or not in form: then it is ended, since its next answer would belong to this request.
        """
        with self._lock:
            with contextlib.suppress(ConnectionError):
                return self._start(tasks)
            try:
                return self._start(tasks)
            except ConnectionError as error:
                raise EngineUnavailable(f"the fork-server went away while starting ({error})") from error

    def _start(self, tasks: Sequence[Task]) -> dict[str, list[str]]:
        connection = self._connect()
        try:
            connection.settimeout(ANSWER_TIMEOUT_S + ANSWER_TIMEOUT_PER_TASK_S * len(tasks))
            answer = _ask(connection, {"start": tasks})
            return {task["ref"]: [str(part) for part in answer[task["ref"]]] for task in tasks}
        except ConnectionError:
            self._end()
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._end()
            raise EngineUnavailable(
                f"the fork-server did not answer as it should ({error!r}); another one is started"
            ) from error

    def close(self) -> None:
        """End the fork-server. No attempt depends on it."""
        with self._lock:
            self._closed = True
            self._end()

    def _connect(self) -> socket.socket:
        if self._closed:
            raise EngineUnavailable("the engine was closed")
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._socket is not None:
            return self._socket
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._errors.open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", self._program, str(PACKAGE_ROOT)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                    cwd="/",
                )
            ours.settimeout(START_TIMEOUT_S)
            self._socket = ours
            self.pid = int(_ask(ours, self._hello())["pid"])
        except (OSError, ValueError, KeyError) as error:
            ours.close()
            self._end()
            raise EngineUnavailable(
                f"the fork-server does not start ({error}); see {self._errors}"
            ) from error
        return ours

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_TIMEOUT_S)
        self._socket = self._process = self.pid = None


def _ask(connection: socket.socket, message: object) -> dict[str, Any]:
    body = json.dumps(message).encode()
    connection.sendall(len(body).to_bytes(4, "big") + body)
    size = int.from_bytes(_receive(connection, 4), "big")
    answer: dict[str, Any] = json.loads(_receive(connection, size))
    return answer


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionResetError("it closed its end")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
