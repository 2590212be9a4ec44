"""A region as it runs: a plane's process, and two witnesses' that cosign its log."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from witness_process import WAIT_S, Witness

from kumoi.client.clients import Kumoi
from kumoi.ledger.note import Signer, vkey_format
from kumoi.store.keys.platform import key_file_ensure

ORIGIN = "kumoi.local/region-1"
STARTED_S = 60
STEP_S = 0.05


def rules(quorum: int, *witnesses: tuple[str, str]) -> str:
    named = (f'[[witnesses]]\nurl = "{url}"\nvkey = "{vkey}"\n' for url, vkey in witnesses)
    return "\n".join([f"quorum = {quorum}", *named])


def job_await(client: Kumoi, job: str) -> None:
    """Return once a task of the job runs."""
    until_s = time.monotonic() + STARTED_S
    while time.monotonic() < until_s:
        tried = [attempt for task in client.jobs.tasks(job) for attempt in task.attempts]
        if any(attempt.started_at is not None and attempt.ended_at is None for attempt in tried):
            return
        time.sleep(STEP_S)
    raise AssertionError(client.jobs.why(job))


class Plane:
    """A plane's process. Whoever has `key` can begin another history of the same log."""

    def __init__(self, directory: Path, key: bytes, **variables: str) -> None:
        self.data_dir = directory
        (directory / "keys").mkdir(parents=True)
        (directory / "keys" / "log.key").write_bytes(key)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        quick = {"KUMOI_LOG_INTERVAL_S": "0.2", "KUMOI_GATEWAY": "no", "KUMOI_VOLUME_ENCRYPTION": "no"}
        self.variables = quick | variables
        self.start()

    def start(self) -> None:
        """Start the plane, or start it again over what it left."""
        command = [sys.executable, "-m", "kumoi.main", "up", "--data-dir", str(self.data_dir)]
        with (self.data_dir / "plane.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", self.url.removeprefix("http://")],
                env=os.environ | self.variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        assert "is ready" in self.process.stdout.readline(), (self.data_dir / "plane.log").read_text()

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)

    def kumoi(self, *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kumoi.main", "--url", self.url, *words]
        held = {"KUMOI_TOKEN": token or (self.data_dir / "admin.token").read_text().strip()}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=WAIT_S, env=os.environ | held, check=False
        )

    def tenant(self) -> str:
        """The token of a new organization's administrator."""
        made = self.kumoi("org", "create", "acme", "--json")
        assert made.returncode == 0, made.stderr
        return str(json.loads(made.stdout)["admin_token"])

    def told(self) -> Any:
        return json.loads(self.kumoi("log", "witnesses", "--json").stdout)

    def until(self, what: Any) -> Any:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if what(found := self.told()):
                return found
        raise AssertionError(self.told())

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=WAIT_S)


class Region(Plane):
    """A plane that publishes nothing before both of its witnesses cosigned it."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self.log = Signer(ORIGIN, key_file_ensure(directory / "log.key"))
        self.witnesses = [Witness(directory / n, self.log, name=f"witness.example/{n}") for n in ("a", "b")]
        asked = [(f"http://127.0.0.1:{one.port}", vkey_format(one.key)) for one in self.witnesses]
        file = directory / "witnesses.toml"
        file.write_text(rules(2, *asked))
        key = (directory / "log.key").read_bytes()
        super().__init__(directory / "data", key, **variables | {"KUMOI_WITNESSES_FILE": str(file)})

    @property
    def trust(self) -> tuple[str, ...]:
        """What a verifier trusts: the log's key, and two witnesses."""
        keys = [word for one in self.witnesses for word in ("--witness", vkey_format(one.key))]
        return ("--vkey", vkey_format(self.log.key), *keys, "--quorum", "2")

    def end(self) -> None:
        super().end()
        for one in self.witnesses:
            if one.process.poll() is None:
                one.end()
