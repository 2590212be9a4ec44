"""Operator access that the tenant controls, a story that it checks offline, and a rewritten history."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from demo.witness import Witness
from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError, NotFoundError
from kumoi.ledger.checkpoint import CHECKPOINT_PATH, Checkpoint, checkpoint_peek, checkpoint_sign
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import Signer, vkey_parse
from kumoi.ledger.tiles import (
    ENTRIES,
    Edge,
    append,
    bundle_decode,
    bundle_prefix,
    path_parse,
    tile_path,
    tile_prefix,
)
from kumoi.ledger.tree import TILE_WIDTH, consistency_prove
from kumoi.ledger.verify import log_verify
from kumoi.loops import witness_asking
from kumoi.model.access import AccessSet
from kumoi.model.access_requests import AccessApprove, AccessKeyCreate, AccessRequestCreate

LARGE_BYTES = 64 << 20
REASON = "the merge took longer than the night before"
FILE = "runs-archive.bin"
WAIT_S = 60.0
LATER = 20_000
"""Entries of the forged log behind the copied ones: more than the true log has by then."""


class Approver:
    """The tenant's key pair, in PEM files in `place`."""

    def __init__(self, place: Path) -> None:
        place.mkdir(mode=0o700)
        self.place = place
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key()
        self.public = base64.b64encode(public.public_bytes_raw()).decode()
        self.public_pem = place / "approver.pub.pem"
        self.public_pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        private_pem = place / "approver.pem"
        private_pem.touch(0o600)
        private_pem.write_bytes(private)

    def sign(self, statement: str) -> str:
        """The signature over a statement, in base64."""
        return base64.b64encode(self._key.sign(statement.encode())).decode()


def refused(operator: Kumoi, job: str) -> str:
    """An operator tries to read what a tenant's job wrote."""
    try:
        parts = list(operator.jobs.logs(job))
    except NotFoundError as error:
        return f"refused with {error.status}: for an operator without a grant the job does not exist"
    raise SystemExit(f"an operator read {len(parts)} parts of a tenant's output without a grant")


def approved(operator: Kumoi, acme: Kumoi, project: str, job: str, approver: Approver) -> tuple[str, str]:
    """The operator asks, the tenant signs, the operator reads: the request's id, and that in words."""
    key = acme.access_keys.create("acme", AccessKeyCreate("security-office", approver.public))
    sets = (AccessSet.FILES, AccessSet.INSPECT, AccessSet.LOGS)
    asked = operator.access_requests.create("acme", AccessRequestCreate(project, sets, REASON, 600))
    signed = AccessApprove(key.id, approver.sign(asked.statement))
    acme.access_requests.approve("acme", asked.id, signed)
    read = b"".join(part.data for part in operator.jobs.logs(job)).decode().strip()
    return asked.id, f"asked as {asked.id}, approved with the tenant's key, read: {read}"


def revoked(operator: Kumoi, acme: Kumoi, project: str, request: str, place: Path) -> str:
    """The operator downloads a large file; the tenant revokes in the middle."""
    large = place / FILE
    with large.open("wb") as file:
        file.truncate(LARGE_BYTES)
    acme.files.put(project, FILE, large)
    stream = operator.files.stream(project, FILE)
    size = len(next(stream))
    acme.access_requests.revoke("acme", request)
    began_s = time.perf_counter()
    try:
        for part in stream:
            size += len(part)
            # A reader that takes its time, so that the end of the file is far away.
            time.sleep(0.003)
    except ClientError:
        took_s = time.perf_counter() - began_s
    else:
        raise SystemExit("a download went on to its end after its access was revoked")
    refused(operator, next(acme.jobs.list(project, limit=1)).id)
    told = f"{size >> 20} of {LARGE_BYTES >> 20} MiB"
    return f"cut off {took_s:.2f} s after the revocation, at {told}; the next request is refused"


def proven(acme: Kumoi, url: str, token: str, witness: Witness, approver: Approver) -> list[str]:
    """The tenant's own events, verified alone by the command line, and an approval by openssl."""
    export = approver.place / "events.json"
    vkey = acme.log.vkey().strip()
    _witnessed(acme)
    kumoi = [sys.executable, "-m", "kumoi.main"]
    _ran([*kumoi, "--url", url, "log", "export", "-o", str(export)], token)
    verify = ["log", "verify", "--export", str(export), "--vkey", vkey, "--witness", witness.vkey, "--json"]
    told = json.loads(_ran([*kumoi, *verify, "--access-key", str(approver.public_pem)]))
    story = told["operator_access"]
    found = [
        f"{told['events']} events verified without the plane, cosigned by {told['cosignatures'][0]}",
        f"{story['uses']} answers to operators, all under {story['approved']} approval by the tenant's key",
    ]
    if shutil.which("openssl") is None:
        return [*found, "openssl is not installed, so it was not asked"]
    return [*found, f"openssl says of the approval in the log: {_openssl(export, approver)}"]


def rewritten(copy: Path, data_dir: Path, witness: Witness, vkey: str) -> list[str]:
    """An operator, who has the log's key, changes one entry, goes on from there and signs all of it again."""
    key, trusted = vkey_parse(vkey), vkey_parse(witness.vkey)
    forged = Forged(copy, Signer(key.name, (data_dir / "keys" / "log.key").read_bytes()))
    log_verify(forged.file, key)
    found = ["signed again, it verifies for whoever asks no witness"]
    try:
        log_verify(forged.file, key, witnesses=[trusted], quorum=1)
    except LedgerError as error:
        found.append(f"with the witness's key it does not: {error}")
    else:
        raise SystemExit("a rewritten history verified with the witness's key")
    asked = witness_asking.Witness(witness.url, trusted)
    try:
        witness_asking.cosignature_ask(asked, forged.checkpoint, forged.note, 0, forged.prove)
    except witness_asking.WitnessFailed as error:
        return [*found, f"asked to cosign, the witness refuses: {error}"]
    raise SystemExit("the witness cosigned a rewritten history")


class Forged:
    """The log of a copy with another first entry and many more at its end, as files below its prefix."""

    def __init__(self, copy: Path, signer: Signer) -> None:
        entries = [b"nothing happened", *_entries(copy)[1:], *(n.to_bytes(32) for n in range(LATER))]
        writes = append(Edge.empty(), entries)
        self._tiles, self._bundles = writes.tiles, writes.bundles
        self.checkpoint = Checkpoint(signer.name, writes.size, writes.root)
        self.note = checkpoint_sign(self.checkpoint, signer)

    def read(self, level: int, n: int, width: int) -> bytes:
        """Hashes of a tile."""
        return tile_prefix(self._tiles[level, n], width)

    def file(self, path: str) -> bytes:
        """A file of the log."""
        if path == CHECKPOINT_PATH:
            return self.note
        address = path_parse(path)
        if isinstance(address.level, str):
            return bundle_prefix(self._bundles[address.n], address.width)
        return self.read(address.level, address.n, address.width)

    def prove(self, old_size: int, size: int) -> tuple[bytes, ...]:
        """The consistency proof that a witness asks for."""
        return consistency_prove(self, old_size, size) if old_size else ()


def _entries(copy: Path) -> list[bytes]:
    """All entries of a copy of a log."""
    size = checkpoint_peek((copy / CHECKPOINT_PATH).read_bytes()).size
    found: list[bytes] = []
    while len(found) < size:
        width = min(TILE_WIDTH, size - len(found))
        path = tile_path(ENTRIES, len(found) // TILE_WIDTH, width)
        found += bundle_decode((copy / path).read_bytes(), width)
    return found


def _witnessed(acme: Kumoi) -> None:
    """Wait until the witness has cosigned all that is in the log now."""
    size, end_s = acme.log.witnesses().size, time.monotonic() + WAIT_S
    while acme.log.witnesses().published_size <= size:
        if time.monotonic() > end_s:
            raise SystemExit(f"the witness did not cosign within {WAIT_S:.0f} s: {acme.log.witnesses()}")
        time.sleep(0.1)


def _openssl(export: Path, approver: Approver) -> str:
    """What openssl says of the approval in the export."""
    told = [
        json.loads(base64.b64decode(one["canonical"])) for one in json.loads(export.read_text())["events"]
    ]
    detail = next(event["detail"] for event in told if event["action"] == "access_request_approve")
    statement, signature = approver.place / "statement", approver.place / "signature"
    statement.write_text(detail["statement"])
    signature.write_bytes(base64.b64decode(detail["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(approver.public_pem), "-rawin"]
    return _ran([*command, "-in", str(statement), "-sigfile", str(signature)]).strip()


def _ran(command: Sequence[str], token: str = "") -> str:
    """What a program prints; the demo fails with its words where it does."""
    held = {"KUMOI_TOKEN": token} if token else {}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, env=os.environ | held, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout
