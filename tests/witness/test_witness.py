"""`kumoi witness` as it runs: over HTTP, restarted, killed while it answers, lied to."""

import contextlib
import errno
import hashlib
import http.client
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from witness_process import ORIGIN, WAIT_S, Log, Witness

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_peek, cosignature_verify
from kumoi.ledger.note import SignatureType, Signer, signatures_parse
from kumoi.ledger.witness import MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE
from kumoi.witness.cosigner import Cosigner
from kumoi.witness.records import Records


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Witness]]:
    started: list[Witness] = []

    def make(*logs: Signer) -> Witness:
        started.append(Witness(tmp_path / "witness", *(logs or (Log().signer,))))
        return started[-1]

    yield make
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def signed(witness: Witness, body: bytes) -> Checkpoint:
    """The checkpoint of the request, which the witness must have cosigned."""
    status, _type, answer = witness.ask(body)
    assert status == 200, answer
    checkpoint = checkpoint_peek(body.partition(b"\n\n")[2])
    [line] = signatures_parse(answer)
    assert cosignature_verify(checkpoint, line, witness.key).time_s > 1_700_000_000
    return checkpoint


def test_a_witness_signs_growth_and_refuses_a_second_history(start: Callable[..., Witness]) -> None:
    witness, log = start(), Log().grow(b"one", b"two")
    assert signed(witness, log.ask()).size == 2
    log.grow(b"three")
    assert witness.ask(log.ask()) == (409, SIZE_MEDIA_TYPE, b"2\n")
    assert signed(witness, log.ask(2)).size == 3
    rewritten = Log().grow(b"one", b"forged", b"three", b"four")
    assert witness.ask(rewritten.ask(3))[0] == 422
    same_size = Log().grow(b"one", b"forged", b"three")
    status, _type, said = witness.ask(same_size.ask(3))
    assert (status, b"two histories" in said) == (409, True)
    assert signed(witness, log.grow(b"four").ask(3)).size == 4


def test_what_is_not_for_it_is_refused_by_the_specifications_codes(start: Callable[..., Witness]) -> None:
    witness, log = start(), Log().grow(b"one")
    foreign = Log(Signer("log.example.org/other", b"\x06" * 32)).grow(b"one")
    assert witness.ask(foreign.ask())[0] == 404
    impostor = Log(Signer(ORIGIN, b"\x07" * 32)).grow(b"one")
    assert witness.ask(impostor.ask())[0] == 403
    assert witness.ask(b"old 5\n\n" + log.ask().partition(b"\n\n")[2])[0] == 400
    assert witness.ask(b"nonsense")[0] == 400
    assert witness.ask(b"x" * (MAX_REQUEST_BYTES + 1))[0] == 413
    assert witness.ask(log.ask(), "/elsewhere")[0] == 404
    assert signed(witness, log.ask()).size == 1


def test_a_restart_forgets_nothing(start: Callable[..., Witness]) -> None:
    log = Log().grow(b"one", b"two")
    first = start()
    signed(first, log.ask())
    assert first.end() == 0
    second = start()
    assert second.key == first.key
    assert second.ask(Log().grow(b"other").ask()) == (409, SIZE_MEDIA_TYPE, b"2\n")


def test_killed_while_it_answers_it_never_forgets_what_it_signed(start: Callable[..., Witness]) -> None:
    log, acknowledged = Log(), 0
    for round_number in range(6):
        witness = start()
        known = int(witness.ask(Log().grow(b"never shown").ask())[2]) if acknowledged else 0
        assert known >= acknowledged, "it answered for this size before it was killed"
        killer = threading.Timer(0.05 + 0.02 * round_number, witness.process.kill)
        killer.start()
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                log.grow(os.urandom(8))
                signed(witness, log.ask(known))
                known = acknowledged = log.edge.size
        killer.join()
        witness.process.communicate(timeout=WAIT_S)
    assert acknowledged > 6


def test_records_are_held_by_one_process(start: Callable[..., Witness]) -> None:
    signed(start(), Log().grow(b"one").ask())
    with pytest.raises(AssertionError, match="another witness uses"):
        start()


def test_a_damaged_record_ends_the_witness_instead_of_starting_over(
    start: Callable[..., Witness], tmp_path: Path
) -> None:
    witness = start()
    signed(witness, Log().grow(b"one").ask())
    witness.end()
    record = tmp_path / "witness" / f"{hashlib.sha256(ORIGIN.encode()).hexdigest()}.checkpoint"
    record.write_bytes(record.read_bytes().replace(b"\n1\n", b"\n2\n"))
    with pytest.raises(AssertionError, match="damaged"):
        start()


def test_a_key_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kumoi.main", "witness", "--data-dir", str(tmp_path), "--name", "w"]
    done = subprocess.run([*command, "--log", "no key"], capture_output=True, text=True, timeout=WAIT_S)
    assert (done.returncode, "verifier key" in done.stderr) == (2, True), done.stderr


def test_a_record_that_may_not_be_on_disk_is_written_again_before_it_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, synced = Log().grow(b"one"), os.fsync

    def directory_fails(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "the disk failed")
        synced(descriptor)

    with Records(tmp_path) as records:
        signer = Signer("w.example", b"\1" * 32, SignatureType.COSIGNATURE_V1)
        cosigner = Cosigner(signer, [log.signer.key], records, lambda: 1)
        with monkeypatch.context() as failing:
            failing.setattr(os, "fsync", directory_fails)
            for asked in (log.ask(), log.ask(1)):
                with pytest.raises(OSError, match="the disk failed"):
                    cosigner.cosign(asked)
        assert cosigner.cosign(log.ask(1))
