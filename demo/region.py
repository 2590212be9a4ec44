"""A plane as a process of its own that can be killed and started again."""

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


class Region:
    """A region in `data_dir`, on a free port of the loopback interface."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _port_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the plane; returns the seconds until it answered."""
        began_s = time.perf_counter()
        command = [sys.executable, "-m", "kumoi.main", "up", "--data-dir", str(self.data_dir)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--log-interval-s", "0.5"]
        command += ["--gateway-listen", "127.0.0.1:0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUMOI_")}
        with (self.data_dir / "plane.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        with Kumoi(self.url, timeout_s=2.0) as client:
            while time.perf_counter() - began_s < READY_S:
                if self._process.poll() is not None:
                    break
                with contextlib.suppress(ClientError):
                    client.health()
                    return time.perf_counter() - began_s
        raise SystemExit(f"the plane did not start; see {self.data_dir / 'plane.log'}")

    def kill(self) -> None:
        """kill -9: nothing is flushed, nobody is told."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the plane to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def operator_token(self) -> str:
        """The token of the region's first operator."""
        return (self.data_dir / "admin.token").read_text().strip()


def _port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
