"""A plane as a process of its own that can be killed and started again, and the end of what it started."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from demo.witness import Witness
from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError
from kumoi.engines.base import EngineError, Phase
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.gateway.haproxy_process import pid_end, pids_of
from kumoi.main.memory_place import memory_place
from kumoi.model.settings import Settings
from kumoi.store.database import Store
from kumoi.store.errors import StoreError
from kumoi.store.organizations import region_get
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.layout import mounts_below

READY_S = 30.0
STOP_S = 20.0
END_S = 20.0
PAUSE_S = 0.05
PAGE = 1_000


class Region:
    """A region in `data_dir`, on a free port of the loopback interface."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _port_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.plain_why = _plain_why()
        origin = Settings(data_dir=data_dir).origin
        self.witness = Witness(data_dir / "witness", data_dir, origin, _port_free())
        (data_dir / "witnesses.toml").write_text(self.witness.rules())

    def start(self) -> float:
        """Start the plane; returns the seconds until it answered."""
        began_s = time.perf_counter()
        command = [sys.executable, "-m", "kumoi.main", "up", "--data-dir", str(self.data_dir)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--log-interval-s", "0.5"]
        command += ["--gateway-listen", "127.0.0.1:0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUMOI_")}
        environment["KUMOI_WITNESSES_FILE"] = str(self.data_dir / "witnesses.toml")
        if self.plain_why:
            environment["KUMOI_VOLUME_ENCRYPTION"] = "false"
        with (self.data_dir / "plane.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
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

    def end(self) -> bool:
        """End the region with what outlives its plane on purpose: attempts, the gateway, HAProxy.

        False if some of it is still there after END_S.
        """
        self.stop()
        self.witness.end()
        until_s = time.monotonic() + END_S
        ended = self._attempts_end(until_s) and self._gateway_end(until_s)
        return ended and self._volumes_end()

    def _attempts_end(self, until_s: float) -> bool:
        incarnation = self._incarnation()
        if incarnation is None:
            return True
        try:
            engine = SandboxEngine(
                self.data_dir, incarnation, host_name="demo", files_root=self.data_dir / "objects"
            )
        except EngineError:
            return True  # the plane could not run any either
        try:
            while True:
                items = engine.observe(None, PAGE).items
                running = [item.ref for item in items if item.phase is not Phase.ENDED]
                if not running or time.monotonic() > until_s:
                    return not running
                engine.stop(running, 0.0)
                time.sleep(PAUSE_S)
        finally:
            engine.close()

    def _volumes_end(self) -> bool:
        """Nobody works any more, so nothing keeps the volumes mounted."""
        root = (self.data_dir / "objects").resolve()
        for place in sorted(mounts_below(root), reverse=True):
            program = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
            subprocess.run([*program, place], check=False, timeout=END_S)
        return not mounts_below(root)

    def _gateway_end(self, until_s: float) -> bool:
        """Its users are gone, so it need not wait for them."""
        memory = memory_place(self.data_dir)
        while pids := [*self._gateways(), *pids_of(memory / "gateway" / "haproxy")]:
            if time.monotonic() > until_s:
                return False
            for pid in pids:
                pid_end(pid, signal.SIGKILL)
            time.sleep(PAUSE_S)
        shutil.rmtree(memory, ignore_errors=True)
        return True

    def _gateways(self) -> list[int]:
        """Gateways of this region, also one that has not said so yet."""
        control = os.fsencode(self.data_dir / "run" / "gateway.sock")
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = place.read_bytes().split(b"\0")
                if b"--control" in words and control in words:
                    found.append(int(place.parent.name))
        return found

    def _incarnation(self) -> str | None:
        """None if the region was not founded yet."""
        settings = Settings(data_dir=self.data_dir)
        if not (self.data_dir / "kumoi.db").exists():
            return None
        try:
            store = Store(settings.database_url, keys=settings.keys_dir)
        except StoreError:
            return None
        try:
            row = store.read_wait(region_get)
        except StoreError:
            return None
        finally:
            store.close()
        return None if row is None else row.incarnation

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


def _plain_why() -> str:
    """Why files and logs cannot be encrypted on this machine; empty where they can."""
    try:
        Gocryptfs()
    except VolumeUnavailable as error:
        return str(error)
    return ""


def _port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
