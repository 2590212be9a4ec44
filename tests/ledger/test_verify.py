import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_peek, checkpoint_sign, cosignature_sign
from kumoi.ledger.errors import (
    BoundsError,
    FormatError,
    HistoryError,
    LedgerError,
    MismatchError,
    ProofError,
    SignatureError,
)
from kumoi.ledger.note import SignatureType, Signer, note_extend
from kumoi.ledger.receipt import receipt_build
from kumoi.ledger.tree import consistency_verify
from kumoi.ledger.verify import MAX_ANCHORS, history_verify, log_verify

EXAMPLES = settings(deadline=None, max_examples=40)
W1 = Signer("witness.example/w1", b"\x02" * 32, SignatureType.COSIGNATURE_V1)


def fetch_altered(log, path, data):
    return lambda asked: data if asked == path else log.fetch(asked)


@EXAMPLES
@given(st.one_of(st.sampled_from([0, 1, 255, 256, 257, 512]), st.integers(0, 1500)), st.data())
def test_an_honest_log_verifies(memory_log, entries, size, data):
    log = memory_log()
    older, receipts = [], []
    everything = entries(size)
    while log.edge.size < size:
        at = log.edge.size
        log.grow(everything[at : at + data.draw(st.integers(1, 700))])
        if data.draw(st.booleans()):
            older.append(log.checkpoint)
        if data.draw(st.booleans()):
            receipts.append((receipt_build(log, at, log.checkpoint), everything[at]))
    report = log_verify(log.fetch, log.signer.key, older=older, receipts=receipts)
    assert report.checkpoint == Checkpoint(log.signer.name, size, log.edge.root)
    assert report.tiles_checked == len(log.tiles)
    assert report.bundles_checked == len(log.bundles)
    assert (report.older_checked, report.receipts_checked) == (len(older), len(receipts))


def test_every_file_is_fetched_once(memory_log):
    log = memory_log(66_000, batch=6_600)
    asked = []
    log_verify(lambda path: asked.append(path) or log.fetch(path), log.signer.key)
    assert len(asked) == len(set(asked)) == 1 + len(log.tiles) + len(log.bundles)
    assert {"tile/2/000.p/1", "tile/1/000", "tile/1/001.p/1", "tile/0/257.p/208"} <= set(asked)


@EXAMPLES
@given(st.data())
def test_any_altered_bit_of_any_file_is_noticed(memory_log, data):
    log = memory_log(600)
    paths = ["checkpoint", "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]
    paths += ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"]
    path = data.draw(st.sampled_from(paths))
    good = log.fetch(path)
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    altered = bytearray(good)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LedgerError):
        log_verify(fetch_altered(log, path, bytes(altered)), log.signer.key)
    for shorter in (good[:-1], good + b"\x00", b""):
        with pytest.raises(LedgerError):
            log_verify(fetch_altered(log, path, shorter), log.signer.key)


def test_it_says_where_the_damage_is(memory_log, entries):
    log = memory_log(600)
    key = log.signer.key
    bundle = bytearray(log.bundles[1])
    bundle[34 * 44 + 5] ^= 1
    with pytest.raises(MismatchError, match=r"tile/0/001: hash 44 is not that of entry 300"):
        log_verify(fetch_altered(log, "tile/entries/001", bytes(bundle)), key)
    tile = bytearray(log.tiles[1, 0])
    tile[-1] ^= 1
    with pytest.raises(MismatchError, match=r"tile/1/000.p/2: hash 1 is not that of the level 0 tile 1"):
        log_verify(fetch_altered(log, "tile/1/000.p/2", bytes(tile)), key)
    with pytest.raises(MismatchError, match=r"tile/0/000 has 10 bytes instead of 8192"):
        log_verify(fetch_altered(log, "tile/0/000", bytes(10)), key)
    with pytest.raises(FormatError, match=r"reading tile/entries/000: .* ends inside entry 0"):
        log_verify(fetch_altered(log, "tile/entries/000", b"\x00"), key)
    forged = memory_log()
    forged.grow([*entries(600)[:-1], b"forged"])
    with pytest.raises(MismatchError, match="do not hash to the root of its checkpoint"):
        log_verify(fetch_altered(forged, "checkpoint", log.checkpoint), key)
    with pytest.raises(KeyError):
        log_verify({"checkpoint": log.checkpoint}.__getitem__, key)


def test_a_rewritten_log_is_noticed_by_who_kept_a_checkpoint(memory_log, entries):
    everything = entries(900)
    honest, rewritten = memory_log(), memory_log()
    honest.grow(everything[:300])
    kept = honest.checkpoint
    receipt = receipt_build(honest, 299, kept)
    honest.grow(everything[300:])
    rewritten.grow([*everything[:100], b"forged", *everything[101:]])
    key = honest.signer.key
    assert log_verify(rewritten.fetch, key).checkpoint.size == 900
    with pytest.raises(HistoryError, match="the log was rewritten: at size 300"):
        log_verify(rewritten.fetch, key, older=[kept])
    with pytest.raises(HistoryError, match="the log was rewritten: at size 300"):
        log_verify(rewritten.fetch, key, receipts=[(receipt, everything[299])])
    with pytest.raises(HistoryError, match="another root at that size"):
        log_verify(rewritten.fetch, key, older=[honest.checkpoint])
    older, newer = checkpoint_peek(kept), checkpoint_peek(rewritten.checkpoint)
    with pytest.raises(ProofError, match="rewritten"):
        history_verify(rewritten.fetch, older, newer)


def test_a_shortened_log_is_noticed(memory_log, entries):
    log = memory_log(300)
    longer = memory_log(400)
    with pytest.raises(HistoryError, match="shortened"):
        log_verify(log.fetch, log.signer.key, older=[longer.checkpoint])
    receipt = receipt_build(longer, 7, longer.checkpoint)
    with pytest.raises(HistoryError, match=r"receipt of entry 7 .* shortened"):
        log_verify(log.fetch, log.signer.key, receipts=[(receipt, entries(8)[7])])
    with pytest.raises(HistoryError, match="shorter"):
        history_verify(log.fetch, checkpoint_peek(longer.checkpoint), checkpoint_peek(log.checkpoint))


def test_older_checkpoints_and_receipts_are_themselves_verified(memory_log, entries):
    log = memory_log(300)
    stranger = Signer(log.signer.name, b"\x55" * 32)
    forged = checkpoint_sign(Checkpoint(log.signer.name, 10, bytes(32)), stranger)
    with pytest.raises(SignatureError):
        log_verify(log.fetch, log.signer.key, older=[forged])
    receipt = receipt_build(log, 7, log.checkpoint)
    with pytest.raises(ProofError):
        log_verify(log.fetch, log.signer.key, receipts=[(receipt, entries(9)[8])])
    with pytest.raises(SignatureError):
        log_verify(log.fetch, stranger.key)
    with pytest.raises(BoundsError, match="at most"):
        log_verify(log.fetch, log.signer.key, older=[log.checkpoint] * (MAX_ANCHORS + 1))


def test_the_quorum_is_asked_of_the_newest_checkpoint(memory_log):
    log = memory_log(300)
    kept = log.checkpoint
    with pytest.raises(SignatureError, match="cosignatures"):
        log_verify(log.fetch, log.signer.key, witnesses=[W1.key], quorum=1)
    line = cosignature_sign(checkpoint_peek(log.checkpoint), W1, 1_700_000_000)
    log.checkpoint = note_extend(log.checkpoint, [line])
    report = log_verify(log.fetch, log.signer.key, witnesses=[W1.key], quorum=1, older=[kept])
    assert [c.key for c in report.cosignatures] == [W1.key]


@EXAMPLES
@given(st.integers(0, 1400), st.integers(0, 1400))
def test_history_is_proved_from_a_few_tiles(memory_log, a, b):
    older, log = memory_log(min(a, b)), memory_log(max(a, b))
    asked = []
    first, second = checkpoint_peek(older.checkpoint), checkpoint_peek(log.checkpoint)
    proof = history_verify(lambda path: asked.append(path) or log.fetch(path), first, second)
    consistency_verify(first.size, first.root, second.size, second.root, proof)
    assert len(asked) <= 4
    with pytest.raises(HistoryError, match="another log"):
        history_verify(log.fetch, Checkpoint("other.example/log", first.size, first.root), second)
