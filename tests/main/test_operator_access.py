"""The whole story on a running region: refused, asked, approved by openssl, read, revoked, verified."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from witness_process import WAIT_S
from witnessed_region import Region

OPENSSL = shutil.which("openssl")


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.end()


def openssl(*words: str | Path) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, words)], check=True, capture_output=True, timeout=WAIT_S)


class Desk:
    """Runs commands as an operator and as the tenant's administrator."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.admin = region.tenant()
        self.operator = (region.data_dir / "admin.token").read_text().strip()

    def ran(self, token: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.region.kumoi(*words, token=token)

    def told(self, token: str, *words: str) -> Any:
        done = self.ran(token, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def written_job(self) -> str:
        """A job that wrote a line, or a skip where this machine runs none."""
        hosts = self.told(self.operator, "host", "list")["items"]
        if not any(host["state"] == "schedulable" and host["health"] == "up" for host in hosts):
            pytest.skip("this machine has no engine that runs jobs (bubblewrap is missing or not allowed)")
        self.told(self.admin, "project", "create", "genome")
        words = ("job", "run", "-p", "genome", "--name", "night", "--", "sh", "-c", "echo confidential")
        ran = self.ran(self.admin, *words)
        assert (ran.returncode, ran.stdout) == (0, "confidential\n"), ran.stderr
        return str(self.told(self.admin, "job", "list", "-p", "genome")["items"][0]["id"])


def test_an_operator_asks_reads_is_cut_off_and_everything_is_proven(region: Region, tmp_path: Path) -> None:
    desk = Desk(region)
    job = desk.written_job()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    desk.told(desk.admin, "access", "key", "add", "security-office", str(public))

    log = ("job", "logs", job)
    refused = desk.ran(desk.operator, *log)
    assert refused.returncode == 5
    assert "confidential" not in refused.stdout + refused.stderr

    reason = "the night's run wrote an error about a disk"
    asking = ("access", "request", job, "--organization", "acme", "--sets", "logs", "--sets", "inspect")
    request = desk.told(desk.operator, *asking, "--reason", reason, "--for", "10m")["id"]
    statement, signature = tmp_path / "statement", tmp_path / "signature"
    printed = desk.ran(desk.admin, "access", "approve", request, "--print-statement")
    statement.write_text(printed.stdout)
    openssl("pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", statement, "-out", signature)
    approved = desk.told(desk.admin, "access", "approve", request, "--signature", str(signature))
    assert (approved["state"], approved["statement"]) == ("approved", printed.stdout)
    read = desk.ran(desk.operator, *log)
    assert (read.returncode, read.stdout) == (0, "confidential\n"), read.stderr
    desk.told(desk.admin, "access", "revoke", request)
    assert desk.ran(desk.operator, *log).returncode == 5
    uses = desk.told(desk.admin, "access", "uses", request)["items"]
    assert {use["action"] for use in uses} >= {"job_log_read"}

    size = region.told()["size"]
    region.until(lambda found: found["published_size"] > size)
    export = tmp_path / "events.json"
    desk.told(desk.admin, "log", "export", "-o", str(export))
    region.end()
    alone = ("log", "verify", "--export", str(export), *region.trust, "--json", "--access-key")
    verified = region.kumoi(*alone, str(public))
    assert verified.returncode == 0, verified.stderr
    story = json.loads(verified.stdout)["operator_access"]
    assert (story["approved"], story["uses"], story["broken_glass"]) == (1, len(uses), [])
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "other.pem")
    assert region.kumoi(*alone, str(tmp_path / "other.pem")).returncode == 8
