import base64
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.checkpoint import checkpoint_peek, cosignature_sign
from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import BoundsError, FormatError, LedgerError, ProofError, SignatureError
from kumoi.ledger.event import MAX_EVENT_BYTES, event_commit
from kumoi.ledger.note import SignatureType, Signer, note_extend
from kumoi.ledger.receipt import (
    MAX_EXTRA_BYTES,
    MAX_RECEIPT_BYTES,
    Receipt,
    receipt_build,
    receipt_format,
    receipt_parse,
    receipt_verify,
)

EXAMPLES = settings(deadline=None, max_examples=60)
W1 = Signer("witness.example/w1", b"\x02" * 32, SignatureType.COSIGNATURE_V1)
# Computed with coreutils: printf of the prefix, the salt and the event into sha256sum.
COMMITMENT_HEX = "d6f73cd616f815631bc471713e4d490a8059de955c1b1fad659339d569f85eb1"
HASH1 = base64.b64encode(sha256(b"hash1").digest()).decode()
HASH2 = base64.b64encode(sha256(b"hash2").digest()).decode()


def test_published_forms():
    # The cases of transparency-dev/formats/proof.
    first, second = sha256(b"hash1").digest(), sha256(b"hash2").digest()
    for receipt, text in [
        (
            Receipt(5, (first, second), b"test checkpoint\n"),
            f"c2sp.org/tlog-proof@v1\nindex 5\n{HASH1}\n{HASH2}\n\ntest checkpoint\n",
        ),
        (
            Receipt(10, (first,), b"checkpoint data\n", b"extra information"),
            f"c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n{HASH1}\n\ncheckpoint data\n",
        ),
        (Receipt(0, (), b"checkpoint\n"), "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"),
    ]:
        assert receipt_format(receipt) == text.encode()
        assert receipt_parse(text.encode()) == receipt


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wrong-header\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\n\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex notanumber\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 05\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 9223372036854775808\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + base64.b64encode(bytes(64)).decode() + "\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + "a" * 70_000 + "\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\ncheckpoint\r\n",
    ],
)
def test_malformed_receipts_are_refused(text):
    with pytest.raises(FormatError):
        receipt_parse(text.encode())


def test_limits_hold():
    line = f"{HASH1}\n"
    head = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 0\n"
    assert len(receipt_parse(f"{head}{line * 63}\ncheckpoint\n".encode()).proof) == 63
    for text in (f"{head}{line * 64}\nc\n", f"{head}{line * 9999}\nc\n"):
        with pytest.raises(LedgerError):
            receipt_parse(text.encode())
    with pytest.raises(BoundsError):
        receipt_parse(bytes(MAX_RECEIPT_BYTES + 1))
    for extra in (b"", bytes(MAX_EXTRA_BYTES + 1)):
        with pytest.raises(BoundsError, match="extra data"):
            Receipt(0, (), b"c", extra)
    largest = Receipt(MAX_INTEGER, (bytes(32),) * 63, b"c" * (512 << 10), bytes(MAX_EXTRA_BYTES))
    assert receipt_parse(receipt_format(largest)) == largest
    for index, proof, checkpoint in [(-1, (), b""), (0, (b"",), b""), (0, (), bytes((512 << 10) + 1))]:
        with pytest.raises(LedgerError):
            Receipt(index, proof, checkpoint)


@EXAMPLES
@given(st.binary(max_size=300), st.data())
def test_the_parser_raises_only_ledger_errors(memory_log, raw, data):
    good = receipt_format(receipt_build(memory_log(9), 4, memory_log(9).checkpoint))
    start, stop = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, len(good)))
    for candidate in (raw, good[:start] + raw + good[stop:]):
        with suppress(LedgerError):
            assert receipt_format(receipt_parse(candidate)) == candidate


@EXAMPLES
@given(st.integers(1, 900), st.data())
def test_every_receipt_verifies_and_survives_growth(memory_log, entries, size, data):
    log = memory_log(size)
    index = data.draw(st.integers(0, size - 1))
    receipt = receipt_build(log, index, log.checkpoint, data.draw(st.none() | st.binary(min_size=1)))
    log.grow(entries(300))
    assert receipt == receipt_parse(receipt_format(receipt))
    opened = receipt_verify(receipt, entries(size)[index], log.signer.key)
    assert opened.checkpoint.size == size
    with pytest.raises(ProofError):
        receipt_verify(receipt, entries(901)[-1], log.signer.key)


def test_every_altered_bit_is_refused(memory_log, entries, bits):
    log = memory_log(6)
    entry = entries(6)[4]
    for altered in bits(receipt_format(receipt_build(log, 4, log.checkpoint))):
        with pytest.raises(LedgerError):
            receipt_verify(receipt_parse(altered), entry, log.signer.key)
    receipt = receipt_build(log, 4, log.checkpoint)
    for altered in bits(entry):
        with pytest.raises(ProofError):
            receipt_verify(receipt, altered, log.signer.key)


def test_a_receipt_says_what_is_wrong(memory_log, entries):
    log, other = memory_log(600), memory_log(600, signer=Signer("kumoi.local/test", b"\x09" * 32))
    entry = entries(600)[77]
    receipt = receipt_build(log, 77, log.checkpoint)
    with pytest.raises(SignatureError, match="trusted key"):
        receipt_verify(receipt, entry, other.signer.key)
    with pytest.raises(BoundsError, match="entry 600 is not in a tree of 600"):
        receipt_verify(Receipt(600, receipt.proof, receipt.checkpoint), entry, log.signer.key)
    with pytest.raises(ProofError, match="entry 78"):
        receipt_verify(Receipt(78, receipt.proof, receipt.checkpoint), entry, log.signer.key)
    with pytest.raises(SignatureError, match="0 of the 1 cosignatures"):
        receipt_verify(receipt, entry, log.signer.key, witnesses=[W1.key], quorum=1)
    line = cosignature_sign(checkpoint_peek(log.checkpoint), W1, 1_700_000_000)
    witnessed = receipt_build(log, 77, note_extend(log.checkpoint, [line]))
    opened = receipt_verify(witnessed, entry, log.signer.key, witnesses=[W1.key], quorum=1)
    assert [c.time_s for c in opened.cosignatures] == [1_700_000_000]
    with pytest.raises(BoundsError, match="not in a tree"):
        receipt_build(log, 600, log.checkpoint)


def test_event_commitments(memory_log):
    salt, event = bytes(range(32)), b'{"action":"job_create"}'
    commitment = event_commit(salt, event)
    assert commitment == sha256(b"kumoi-event/v1\n" + salt + event).digest()
    assert commitment.hex() == COMMITMENT_HEX
    assert event_commit(salt, b"") != commitment != event_commit(bytes(32), event)
    log = memory_log()
    log.grow([event_commit(salt, b""), commitment])
    receipt = receipt_build(log, 1, log.checkpoint)
    receipt_verify(receipt, event_commit(salt, event), log.signer.key)
    with pytest.raises(ProofError):
        receipt_verify(receipt, event_commit(salt, event + b" "), log.signer.key)
    for wrong_salt in (b"", bytes(31), bytes(33)):
        with pytest.raises(BoundsError, match="32 bytes"):
            event_commit(wrong_salt, event)
    with pytest.raises(BoundsError, match="at most"):
        event_commit(salt, bytes(MAX_EVENT_BYTES + 1))
