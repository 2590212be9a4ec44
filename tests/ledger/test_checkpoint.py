from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.checkpoint import (
    Checkpoint,
    Cosignature,
    checkpoint_format,
    checkpoint_open,
    checkpoint_parse,
    checkpoint_peek,
    checkpoint_sign,
    cosignature_sign,
    cosignature_verify,
)
from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import FormatError, LedgerError, SignatureError
from kumoi.ledger.note import (
    Signature,
    SignatureType,
    Signer,
    VerifierKey,
    note_extend,
    note_parse,
    note_sign,
    signatures_parse,
    vkey_parse,
)
from kumoi.ledger.tree import EMPTY_ROOT, consistency_verify, leaf_hash

EXAMPLES = settings(deadline=None, max_examples=60)
ORIGIN = "kumoi.local/test"
LOG = Signer(ORIGIN, b"\x01" * 32)
W1 = Signer("witness.example/w1", b"\x02" * 32, SignatureType.COSIGNATURE_V1)
W2 = Signer("witness.example/w2", b"\x03" * 32, SignatureType.COSIGNATURE_V1)
STATE = Checkpoint(ORIGIN, 7, sha256(b"root").digest())

# A real checkpoint of the Go checksum database, and its key. The database's origin is not its key's name.
GO_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GO_ORIGIN = "go.sum database tree"
GO_CHECKPOINT = """go.sum database tree
15067302
gJyioq6dwR9n+NjEWORfYmH+ubeYm3kH42BBQ0bTpYI=

— sum.golang.org Az3grp1rvWOs5NKlr/xR4GLN/CDyzzakmt1o61uSxYKpK1SerqOP2ClbX/peKUZjYnyomH5Xz7GZG3TpB7OeKn4E2ww=
— test.example.com qTGhC/xIPQ0AXKHK6Y+9ypRfuvMZWPjRXM8NiOg5M1WREn07VQXyuIXM3NRNav3ieVFLUqDRK77PWDmL6w8w84UqeAw=
""".encode()  # noqa: E501
# A real cosigned checkpoint of a Certificate Transparency log and the published keys of its four witnesses.
CT_CHECKPOINT = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()  # noqa: E501
CT_WITNESSES = [
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
]
# Three signed states of one log and the proofs between them, from the tests of filippo.io/torchwood.
SIGSUM_ORIGIN = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = VerifierKey(
    SIGSUM_ORIGIN, bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
)
SIGSUM = {
    1: (
        "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    ),
    3: (
        "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
        "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
    ),
    5: (
        "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    ),
}
SIGSUM_PROOFS = {
    (1, 3): ["2a01" + "00" * 30, "2a02" + "00" * 30],
    (1, 5): [
        "2a01" + "00" * 30,
        "f9f50357e93def4078237b8aaea24ce1a3f5965a0f64ff26bebd99e30470d8b2",
        "2a04" + "00" * 30,
    ],
}


def cosigned(*witnesses: Signer, time_s: int = 1_700_000_000) -> bytes:
    return note_extend(checkpoint_sign(STATE, LOG), [cosignature_sign(STATE, w, time_s) for w in witnesses])


def test_the_body_is_that_of_the_go_checksum_database():
    root = leaf_hash(b"hello world")
    body = "go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n"
    assert checkpoint_format(Checkpoint(GO_ORIGIN, 123456789012, root)) == body
    assert checkpoint_parse(body) == Checkpoint(GO_ORIGIN, 123456789012, root)


def test_a_real_checkpoint_opens():
    key = vkey_parse(GO_VKEY)
    opened = checkpoint_open(GO_CHECKPOINT, key, origin=GO_ORIGIN)
    assert opened.checkpoint == checkpoint_peek(GO_CHECKPOINT)
    assert (opened.checkpoint.size, opened.cosignatures) == (15067302, ())
    with pytest.raises(SignatureError, match=r"is of the log 'go\.sum database tree'"):
        checkpoint_open(GO_CHECKPOINT, key)
    with pytest.raises(SignatureError):
        checkpoint_open(GO_CHECKPOINT.replace(b"15067302", b"15067303"), key, origin=GO_ORIGIN)


@pytest.mark.parametrize("vkey", CT_WITNESSES)
def test_real_cosignatures_verify(vkey):
    key = vkey_parse(vkey)
    state = checkpoint_peek(CT_CHECKPOINT)
    (line,) = [s for s in note_parse(CT_CHECKPOINT).signatures if s.name == key.name]
    assert cosignature_verify(state, line, key) == Cosignature(key, 1779573024)
    with pytest.raises(SignatureError):
        cosignature_verify(Checkpoint(state.origin, state.size + 1, state.root), line, key)
    later = Signature(line.name, line.key_id, (1779573025).to_bytes(8, "big") + line.blob[8:])
    with pytest.raises(SignatureError):
        cosignature_verify(state, later, key)


def test_a_cosignature_names_its_key_and_a_possible_time():
    line = cosignature_sign(STATE, W1, 5)
    assert cosignature_verify(STATE, line, W1.key).time_s == 5
    for name, key_id in [(W2.name, line.key_id), (W1.name, W2.key.key_id)]:
        with pytest.raises(SignatureError, match="does not verify"):
            cosignature_verify(STATE, Signature(name, key_id, line.blob), W1.key)
    late = MAX_INTEGER + 1
    message = f"cosignature/v1\ntime {late}\n{checkpoint_format(STATE)}".encode()
    signed = Ed25519PrivateKey.from_private_bytes(W1.seed).sign(message)
    with pytest.raises(SignatureError, match="does not verify"):
        cosignature_verify(STATE, Signature(W1.name, line.key_id, late.to_bytes(8, "big") + signed), W1.key)


@pytest.mark.parametrize(("old", "new"), SIGSUM_PROOFS)
def test_published_history_of_another_implementation(old, new):
    states = {}
    for size in (old, new):
        root, signature = SIGSUM[size]
        note = f"{SIGSUM_ORIGIN}\n{size}\n{root}\n\n— {SIGSUM_ORIGIN} {signature}\n".encode()
        states[size] = checkpoint_open(note, SIGSUM_KEY).checkpoint
    proof = [bytes.fromhex(h) for h in SIGSUM_PROOFS[old, new]]
    consistency_verify(old, states[old].root, new, states[new].root, proof)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "origin\n",
        "origin\n7\n",
        "origin\n7\n{root}",
        "\n7\n{root}\n",
        "origin\n07\n{root}\n",
        "origin\n+7\n{root}\n",
        "origin\n-7\n{root}\n",
        "origin\n7 \n{root}\n",
        "origin\n٧\n{root}\n",
        "origin\n0x7\n{root}\n",
        "origin\n9223372036854775808\n{root}\n",
        "origin\n" + "9" * 5000 + "\n{root}\n",
        "origin\n7\n{root}=\n",
        "origin\n7\nAAAA\n",
        "origin\n7\n{root}\nextension\n",
        "origin\n7\n{root}\nextension",
        "origin\n7\n{root}\n\n",
        "origin\n0\n{root}\n",
        "o" * 256 + "\n7\n{root}\n",
        "é" * 128 + "\n7\n{root}\n",
    ],
)
def test_malformed_bodies_are_refused(body):
    root = "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0="
    with pytest.raises(FormatError):
        checkpoint_parse(body.format(root=root))
    assert checkpoint_parse(f"{'o' * 255}\n7\n{root}\n").size == 7


@EXAMPLES
@given(st.text(max_size=200), st.text("origin\n0123456789+/=AB", max_size=90))
def test_the_parser_raises_only_ledger_errors(anything, similar):
    for body in (anything, similar):
        with suppress(LedgerError):
            assert checkpoint_format(checkpoint_parse(body)) == body


@EXAMPLES
@given(st.integers(1, MAX_INTEGER), st.binary(min_size=32, max_size=32))
def test_signing_and_opening_round_trip(size, root):
    state = Checkpoint(ORIGIN, size, root)
    assert checkpoint_open(checkpoint_sign(state, LOG), LOG.key).checkpoint == state


def test_every_altered_bit_is_refused(bits):
    data = cosigned(W1)
    for altered in bits(data):
        with pytest.raises(LedgerError):
            checkpoint_open(altered, LOG.key, witnesses=[W1.key], quorum=1)


def test_witnesses_are_counted_once_per_key():
    again = Signer("witness.example/other-name", W1.seed, SignatureType.COSIGNATURE_V1)
    trusted = [W1.key, again.key, W2.key]
    two = checkpoint_open(cosigned(W1, W2), LOG.key, witnesses=trusted, quorum=2)
    assert two.cosignatures == (Cosignature(W1.key, 1_700_000_000), Cosignature(W2.key, 1_700_000_000))
    with pytest.raises(SignatureError, match="1 of the 2 cosignatures"):
        checkpoint_open(cosigned(W1, again), LOG.key, witnesses=trusted, quorum=2)
    with pytest.raises(SignatureError, match="0 of the 1 cosignatures"):
        checkpoint_open(cosigned(W2), LOG.key, witnesses=[W1.key], quorum=1)
    assert checkpoint_open(cosigned(), LOG.key, witnesses=trusted).cosignatures == ()


def test_cosignatures_never_stand_for_the_log():
    line = cosignature_sign(STATE, W1, 5)
    body = checkpoint_sign(STATE, LOG).decode().partition("\n\n")[0]
    only_witness = note_extend(checkpoint_sign(STATE, LOG), [line]).decode()
    only_witness = "\n".join(x for x in only_witness.split("\n") if ORIGIN not in x or x == ORIGIN)
    assert only_witness.startswith(body)
    assert len(signatures_parse(only_witness.partition("\n\n")[2].encode())) == 1
    with pytest.raises(SignatureError, match="not signed by its log's key"):
        checkpoint_open(only_witness.encode(), LOG.key, witnesses=[W1.key])


def test_keys_are_used_for_their_type_only():
    twin = Signer(ORIGIN, LOG.seed, SignatureType.COSIGNATURE_V1)
    data = cosigned(W1)
    for misuse in (
        lambda: checkpoint_sign(STATE, twin),
        lambda: checkpoint_open(data, twin.key),
        lambda: checkpoint_open(data, LOG.key, witnesses=[LOG.key]),
        lambda: cosignature_sign(STATE, LOG, 5),
        lambda: cosignature_verify(STATE, cosignature_sign(STATE, W1, 5), LOG.key),
    ):
        with pytest.raises(SignatureError, match="logs sign with 0x01, witnesses with 0x04"):
            misuse()


def test_a_log_signs_its_own_origin_only():
    with pytest.raises(SignatureError, match="must be the log's origin"):
        checkpoint_sign(Checkpoint("another.example/log", 7, STATE.root), LOG)
    foreign = note_sign(checkpoint_format(Checkpoint("another.example/log", 7, STATE.root)), [LOG])
    with pytest.raises(SignatureError, match="is of the log"):
        checkpoint_open(foreign, LOG.key)


def test_the_empty_log():
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert checkpoint_format(empty).split("\n")[1] == "0"
    assert checkpoint_open(checkpoint_sign(empty, LOG), LOG.key).checkpoint == empty


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, bytes(32)),
        ("a\nb", 1, bytes(32)),
        ("\ud800", 1, bytes(32)),
        ("o", -1, bytes(32)),
        ("o", MAX_INTEGER + 1, bytes(32)),
        ("o", 1, bytes(31)),
        ("o", 0, bytes(32)),
    ],
)
def test_impossible_states_are_refused(origin, size, root):
    with pytest.raises(LedgerError):
        Checkpoint(origin, size, root)
