import base64
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import BoundsError, FormatError, LedgerError, SignatureError
from kumoi.ledger.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    SignatureType,
    Signer,
    VerifierKey,
    note_extend,
    note_format,
    note_open,
    note_parse,
    note_sign,
    signature_make,
    signature_verify,
    signatures_format,
    signatures_parse,
    vkey_format,
    vkey_parse,
)

EXAMPLES = settings(deadline=None, max_examples=60)

# The keys and the note of golang.org/x/mod/sumdb/note, the format's first implementation.
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot "
    "rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode()
# The example of the signed-note specification: its text has a blank line and is not ASCII.
POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501
# Real verifier keys of the public witness network (type 0x04), and of the tests of transparency-dev/formats.
REAL_VKEYS = [
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
    "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
]

PETER, ENOCH = vkey_parse(PETER_VKEY), vkey_parse(ENOCH_VKEY)
NAMES = st.text(min_size=1, max_size=40).filter(
    lambda s: "+" not in s and s.split() == [s] and min(s) >= " " and len(s.encode("utf-8", "replace")) < 200
)
SIGNERS = st.builds(
    Signer,
    NAMES.filter(lambda s: s.isprintable()),
    st.binary(min_size=32, max_size=32),
    st.just(SignatureType.ED25519),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200).map(lambda s: s + "\n")


def test_published_note_is_signed_and_opened():
    signer = Signer("PeterNeumann", PETER_SEED)
    assert vkey_format(signer.key) == PETER_VKEY
    assert note_sign(TEXT, [signer]) == f"{TEXT}\n{PETER_LINE}".encode()
    assert "81" not in repr(signer), "a seed is never shown"
    assert repr(signer) == "Signer(name='PeterNeumann', signature_type=<SignatureType.ED25519: 1>)"
    opened = note_open(NOTE, [PETER])
    assert opened.text == TEXT
    assert [v.key for v in opened.verified] == [PETER]
    assert [s.name for s in opened.unverified] == ["EnochRoot"]
    both = note_open(NOTE, [PETER, ENOCH, PETER])
    assert [v.key for v in both.verified] == [PETER, ENOCH]
    assert both.unverified == ()


def test_the_text_ends_at_the_last_blank_line():
    note = note_parse(POEM.encode())
    assert note.text == POEM.rpartition("\n\n")[0] + "\n"
    assert "\n\n" in note.text
    assert [s.name for s in note.signatures] == ["quasimodo.example/salvatore"]
    assert note_format(note) == POEM.encode()


@pytest.mark.parametrize("vkey", [PETER_VKEY, ENOCH_VKEY, *REAL_VKEYS])
def test_published_verifier_keys(vkey):
    assert vkey_format(vkey_parse(vkey)) == vkey


def test_every_mangling_of_a_verifier_key_is_refused():
    for start in range(len(PETER_VKEY)):
        for stop in range(start, len(PETER_VKEY)):
            with pytest.raises(FormatError):
                vkey_parse(PETER_VKEY[start : stop + (start > 0)])
    for at, character in enumerate(PETER_VKEY):
        with pytest.raises(FormatError):
            vkey_parse(PETER_VKEY[:at] + chr(ord(character) + 1) + PETER_VKEY[at + 1 :])
    for other in [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER_VKEY.replace("c74f20a3", "C74F20A3"),
        PETER_VKEY + "\n",
        " " + PETER_VKEY,
        PETER_VKEY + "A" * 1000,
        "PeterNeumann+c74f20a3+",
    ]:
        with pytest.raises(FormatError):
            vkey_parse(other)


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        TEXT + "\n",
        TEXT + PETER_LINE,
        TEXT + "\n" + PETER_LINE[:-1],
        TEXT + "\n" + PETER_LINE + "Unexpected line.\n",
        TEXT + "\n" + PETER_LINE + ENOCH_LINE[:-1],
        TEXT + "\n" + PETER_LINE + "Unexpected end",
        TEXT + "\n" + PETER_LINE.removeprefix("— "),
        TEXT + "\n" + PETER_LINE + "\n",
        "\x01" + TEXT + "\n" + PETER_LINE,
        TEXT.replace("\n", "\r\n") + "\n" + PETER_LINE,
        "\t" + TEXT + "\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE.replace("—", "-"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Peter Neumann"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Peter+Neumann"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann ", " "),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Peter\u00a0Neumann"),
        TEXT + "\n" + PETER_LINE.replace("AM=", "AM"),
        TEXT + "\n" + PETER_LINE.replace("AM=", "AN="),
        TEXT + "\n" + PETER_LINE.replace(" x08g", "  x08g"),
        TEXT + "\n— PeterNeumann x08gow==\n",
        TEXT + "\n— PeterNeumann\n",
        TEXT + "\n— \n",
        "",
        "\n\n",
    ],
)
def test_malformed_notes_are_refused(data):
    with pytest.raises(FormatError):
        note_open(data.encode(), [PETER])
    with pytest.raises(FormatError, match="UTF-8"):
        note_open(b"\xff" + data.encode(), [PETER])


@EXAMPLES
@given(st.binary(max_size=300), st.text(max_size=300), st.integers(0, len(NOTE)), st.integers(0, len(NOTE)))
def test_parsers_raise_only_ledger_errors(raw, text, start, stop):
    for data in (raw, text.encode("utf-8", "replace"), NOTE[:start] + raw + NOTE[stop:]):
        for parse in (note_parse, signatures_parse, lambda data: note_open(data, [PETER, ENOCH])):
            try:
                note = parse(data)
            except LedgerError:
                continue
            if isinstance(note, Note):
                assert note_format(note) == data
    with suppress(LedgerError):
        assert vkey_format(vkey_parse(text)) == text


def test_every_altered_bit_of_a_signed_note_is_refused(bits):
    data = f"{TEXT}\n{PETER_LINE}".encode()
    for altered in bits(data):
        with pytest.raises(LedgerError):
            note_open(altered, [PETER])


def test_a_wrong_signature_of_a_trusted_key_refuses_the_note():
    enoch_line = ENOCH_LINE.replace("5n2ti", "5n2tj")
    data = f"{TEXT}\n{PETER_LINE}{enoch_line}".encode()
    assert note_open(data, [PETER]).text == TEXT
    with pytest.raises(SignatureError, match="EnochRoot"):
        note_open(data, [PETER, ENOCH])


def test_unknown_keys_never_suffice():
    with pytest.raises(SignatureError, match="none of the note's signatures"):
        note_open(NOTE, [])
    same_name = Signer("PeterNeumann", bytes(32)).key
    with pytest.raises(SignatureError, match="none of the note's signatures"):
        note_open(NOTE, [same_name])
    assert [v.key for v in note_open(NOTE, [same_name, PETER]).verified] == [PETER]


def test_two_keys_may_not_share_name_and_id(monkeypatch):
    monkeypatch.setattr(VerifierKey, "key_id", property(lambda self: b"\xc7\x4f\x20\xa3"))
    colliding = VerifierKey("PeterNeumann", bytes(32))
    with pytest.raises(SignatureError, match="share the name"):
        note_open(NOTE, [PETER, colliding])


def test_limits_hold():
    at_limit = f"{TEXT}\n{PETER_LINE * MAX_SIGNATURES}".encode()
    assert len(note_parse(at_limit).signatures) == MAX_SIGNATURES
    with pytest.raises(BoundsError, match="at most 64 signatures"):
        note_parse(at_limit + PETER_LINE.encode())
    with pytest.raises(BoundsError, match="bytes"):
        note_parse(b"a" * (MAX_NOTE_BYTES + 1))
    with pytest.raises(BoundsError, match="bytes"):
        signatures_parse(b"a" * (MAX_NOTE_BYTES + 1))
    with pytest.raises(FormatError, match="255"):
        Signer("n" * 256, bytes(32))
    with pytest.raises(FormatError, match="32 bytes"):
        Signer("n", bytes(31))
    with pytest.raises(FormatError, match="32 bytes"):
        VerifierKey("n", bytes(33))
    many = [Signature(f"w{i}", bytes(4), b"blob") for i in range(MAX_SIGNATURES)]
    with pytest.raises(BoundsError, match="at most 64"):
        note_extend(NOTE, many)
    # What the specification demands as a minimum, with the largest post-quantum signatures it foresees.
    large = [Signature(f"w{i}", bytes(4), bytes(5000)) for i in range(MAX_SIGNATURES)]
    assert note_parse(note_format(Note(TEXT, tuple(large)))).signatures == tuple(large)


@pytest.mark.parametrize(
    "text", ["", "no newline", f"{TEXT}\n{ENOCH_LINE}"[:-1], "a\x00b\n", "a\rb\n", "\ud800\n"]
)
def test_texts_that_no_note_may_have_are_not_signed(text):
    with pytest.raises(FormatError):
        note_sign(text, [Signer("PeterNeumann", PETER_SEED)])
    with pytest.raises(FormatError):
        note_sign(TEXT, [])


@EXAMPLES
@given(TEXTS, st.lists(SIGNERS, min_size=1, max_size=3, unique_by=lambda s: (s.name, s.seed)))
def test_signing_and_opening_round_trip(text, signers):
    opened = note_open(note_sign(text, signers), [s.key for s in signers])
    assert opened.text == text
    assert [v.key for v in opened.verified] == [s.key for s in signers]
    assert all(v.time_s is None for v in opened.verified)
    for signer in signers:
        assert vkey_parse(vkey_format(signer.key)) == signer.key


@EXAMPLES
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=80))
def test_arbitrary_keys_and_blobs_are_refused_politely(public_key, blob):
    for kind in SignatureType:
        key = VerifierKey("n", public_key, kind)
        with pytest.raises(SignatureError):
            signature_verify(TEXT, Signature("n", key.key_id, blob), key)


def test_signature_lines_are_added_and_replaced():
    lines = signatures_parse(ENOCH_LINE.encode())
    assert signatures_format(lines) == ENOCH_LINE
    assert note_extend(f"{TEXT}\n{PETER_LINE}".encode(), lines) == NOTE
    assert note_extend(NOTE, lines) == NOTE
    stale = Signature("EnochRoot", lines[0].key_id, b"stale")
    assert note_extend(note_extend(NOTE, [stale]), lines) == NOTE


def test_a_time_belongs_to_cosignatures_only():
    log = Signer("n", bytes(32))
    witness = Signer("n", bytes(32), SignatureType.COSIGNATURE_V1)
    assert log.key.key_id != witness.key.key_id
    for signer, time_s in [(log, 1), (witness, None)]:
        with pytest.raises(SignatureError):
            signature_make(TEXT, signer, time_s)
    for time_s in (-1, MAX_INTEGER + 1):
        with pytest.raises(BoundsError):
            signature_make(TEXT, witness, time_s)
    made = signature_make(TEXT, witness, MAX_INTEGER)
    assert signature_verify(TEXT, made, witness.key).time_s == MAX_INTEGER
    with pytest.raises(SignatureError):
        signature_verify(TEXT, made, log.key)
