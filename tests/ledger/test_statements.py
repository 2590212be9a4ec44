"""Statements of operator access: one text for each meaning, signed by the tenant, checked by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from kumoi.ledger.errors import FormatError, SignatureError
from kumoi.ledger.statements import (
    Approval,
    KeyAddition,
    Rule,
    Scope,
    Statement,
    reason_digest,
    statement_format,
    statement_parse,
    statement_verify,
)

words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
sets = st.lists(st.sampled_from(["logs", "files", "stop"]), min_size=1, max_size=3, unique=True)
scopes = st.builds(Scope, words, sets.map(lambda found: tuple(sorted(found))), st.integers(1, 999_999_999))
statements = st.one_of(
    st.builds(Approval, words, words, words, words, scopes, words, words),
    st.builds(Rule, words, words, words, words, scopes, words),
    st.builds(KeyAddition, words, words, words, st.binary(min_size=32, max_size=32)),
)
APPROVAL = Approval(
    "kumoi.local/region-1",
    "org_1",
    "acc_1",
    "usr_1",
    Scope("job_1", ("inspect", "logs"), 3_600),
    reason_digest("to find out why jobs fail"),
    "2027-01-15T08:00:00.000000Z",
)


@given(statements)
def test_what_is_written_is_read_again(statement: Statement) -> None:
    assert statement_parse(statement_format(statement)) == statement


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        statement = statement_parse(raw)
    except FormatError:
        return
    assert statement_format(statement) == raw


@given(statements, st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_another_text_is_another_meaning_or_none(statement: Statement, place: int, put: bytes) -> None:
    raw = statement_format(statement)
    at = place % len(raw)
    changed = raw[:at] + put + raw[at + 1 :]
    try:
        assert (statement_parse(changed) == statement) == (changed == raw)
    except FormatError:
        assert changed != raw


@pytest.mark.parametrize(
    "lines",
    [
        "kumoi-access-approval/v2\n",
        "kumoi-access-key/v1\norigin a\norganization b\nname c\n",
        "kumoi-access-key/v1\norigin a\norganization b\nname c\npublic-key x\n",
        statement_format(APPROVAL).decode().replace("inspect,logs", "logs,inspect"),
        statement_format(APPROVAL).decode().replace("inspect,logs", "logs,logs"),
        statement_format(APPROVAL).decode().replace("3600", "03600"),
        statement_format(APPROVAL).decode().replace("3600", "1e3"),
        statement_format(APPROVAL).decode() + "\n",
        statement_format(APPROVAL).decode().replace("\n", "\r\n"),
        "x" * 5_000,
    ],
)
def test_other_spellings_are_refused(lines: str) -> None:
    with pytest.raises(FormatError):
        statement_parse(lines.encode())


@pytest.mark.parametrize("value", ["", "two words", "a\nb", "é"])
def test_a_value_that_no_line_can_hold_is_refused(value: str) -> None:
    with pytest.raises(FormatError):
        statement_format(KeyAddition("origin", value, "name", bytes(32)))


def test_a_signature_is_of_one_key_over_one_text() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = statement_format(APPROVAL)
    signature, public = key.sign(raw), key.public_key().public_bytes_raw()
    assert statement_verify(raw, signature, public) == APPROVAL
    for wrong in (
        (raw.replace(b"3600", b"3601"), signature, public),
        (raw, other.sign(raw), public),
        (raw, signature, other.public_key().public_bytes_raw()),
        (raw, signature[:-1], public),
    ):
        with pytest.raises(SignatureError):
            statement_verify(*wrong)
    with pytest.raises(FormatError):
        statement_verify(raw, signature, public[:-1])


def test_openssl_checks_a_signature(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    key, raw = Ed25519PrivateKey.generate(), statement_format(APPROVAL)
    (tmp_path / "statement").write_bytes(raw)
    (tmp_path / "signature").write_bytes(key.sign(raw))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "statement"]
    command += ["-sigfile", "signature"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert "Signature Verified Successfully" in checked.stdout
    (tmp_path / "statement").write_bytes(raw.replace(b"3600", b"9999"))
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode != 0
