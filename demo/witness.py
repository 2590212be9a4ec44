"""A witness as a process of its own: the ministry's, say, which the provider does not run."""

import subprocess
import sys
from pathlib import Path

from kumoi.ledger.note import Signer, vkey_format
from kumoi.store.keys.platform import key_file_ensure

NAME = "witness.example/ministry"
STOP_S = 10.0


class Witness:
    """Started before its region, whose log's key is made for it; `rules` names it to the plane."""

    def __init__(self, place: Path, data_dir: Path, origin: str, port: int) -> None:
        (data_dir / "keys").mkdir(mode=0o700, parents=True)
        log = Signer(origin, key_file_ensure(data_dir / "keys" / "log.key"))
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "kumoi.main", "witness", "--data-dir", str(place), "--name", NAME]
        self._process = subprocess.Popen(
            [*command, "--listen", f"127.0.0.1:{port}", "--log", vkey_format(log.key)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        if said[:1] != ["witness"]:
            raise SystemExit("the witness did not start")
        self.vkey = said[1]

    def rules(self) -> str:
        """What the plane's `witnesses_file` says."""
        return f'quorum = 1\n[[witnesses]]\nurl = "{self.url}"\nvkey = "{self.vkey}"\n'

    def end(self) -> None:
        """Stop it, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
