"""Planes as processes of their own, to be killed, frozen and continued."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError

READY_S = 30.0
STOP_S = 20.0


class PlaneProcess:
    """`kumoi up` on a free port of the loopback interface."""

    def __init__(self, data_dir: Path, database: str, *flags: str) -> None:
        self.port = _port_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = data_dir / f"plane-{self.port}.log"
        command = [sys.executable, "-m", "kumoi.main", "up", "--data-dir", str(data_dir), *flags]
        command += ["--listen", f"127.0.0.1:{self.port}", "--database", database, "--log-interval-s", "0.3"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUMOI_")}
        environment["KUMOI_VOLUME_ENCRYPTION"] = "false"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def await_ready(self) -> None:
        """Return once the plane answers; raise with its log if it does not."""
        until_s = time.monotonic() + READY_S
        with Kumoi(self.url, timeout_s=1.0) as client:
            while time.monotonic() < until_s and self.process.poll() is None:
                with contextlib.suppress(ClientError):
                    client.health()
                    return
        raise AssertionError(f"the plane did not start: {self._log.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the plane, and to it alone."""
        self.process.send_signal(number)

    def log_text(self) -> str:
        """What the plane wrote."""
        return self._log.read_text()

    def stop(self) -> None:
        """End the plane, frozen or not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
