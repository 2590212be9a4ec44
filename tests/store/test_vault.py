"""Secrets at rest open only as what they were sealed as, under the key they were sealed with."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.store.vault import (
    KEY_BYTES,
    NONCE_BYTES,
    SealedSecret,
    SecretName,
    SecretUnreadable,
    Vault,
    key_file_ensure,
)

KEY = bytes(range(KEY_BYTES))
OWNER = SecretName("org_1", "prj_1", "db-password")


@given(value=st.binary(max_size=500))
def test_what_is_sealed_opens(value: bytes) -> None:
    vault = Vault(KEY)
    assert vault.open(OWNER, vault.seal(OWNER, value)) == value


def test_the_same_value_never_looks_the_same() -> None:
    vault = Vault(KEY)
    one, two = vault.seal(OWNER, b"value"), vault.seal(OWNER, b"value")
    assert one.ciphertext[NONCE_BYTES:] != two.ciphertext[NONCE_BYTES:]
    assert one.wrapped_key != two.wrapped_key


@pytest.mark.parametrize(
    "owner",
    [
        replace(OWNER, organization_id="org_2"),
        replace(OWNER, project_id="prj_2"),
        replace(OWNER, name="other"),
        SecretName("org_1\nprj_1", "db-password", ""),
    ],
)
def test_a_secret_moved_to_another_owner_does_not_open(owner: SecretName) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(OWNER, b"value")
    with pytest.raises(SecretUnreadable) as refused:
        vault.open(owner, sealed)
    assert "value" not in str(refused.value)


def test_a_secret_rolled_to_another_key_version_does_not_open() -> None:
    vault = Vault(KEY)
    with pytest.raises(SecretUnreadable, match="key version 2"):
        vault.open(OWNER, replace(vault.seal(OWNER, b"value"), key_version=2))


def test_another_key_opens_nothing() -> None:
    sealed = Vault(KEY).seal(OWNER, b"value")
    with pytest.raises(SecretUnreadable, match="restore the key file"):
        Vault(bytes(KEY_BYTES)).open(OWNER, sealed)


@given(data=st.data())
def test_one_changed_bit_is_noticed(data: st.DataObject) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(OWNER, b"value")
    part = data.draw(st.sampled_from(["wrapped_key", "ciphertext"]))
    raw = bytearray(getattr(sealed, part))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SecretUnreadable):
        vault.open(OWNER, replace(sealed, **{part: bytes(raw)}))


def test_parts_of_two_secrets_do_not_fit() -> None:
    vault = Vault(KEY)
    one, two = vault.seal(OWNER, b"one"), vault.seal(OWNER, b"two")
    with pytest.raises(SecretUnreadable):
        vault.open(OWNER, SealedSecret(one.wrapped_key, two.ciphertext, 1))


@pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
@pytest.mark.parametrize("kept", [0, 1, NONCE_BYTES - 1, NONCE_BYTES, NONCE_BYTES + 15])
def test_a_row_cut_short_does_not_open(part: str, kept: int) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(OWNER, b"value")
    with pytest.raises(SecretUnreadable):
        vault.open(OWNER, replace(sealed, **{part: getattr(sealed, part)[:kept]}))


def test_a_key_file_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    key = key_file_ensure(path)
    assert (len(key), key_file_ensure(path)) == (KEY_BYTES, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_file_ensure(tmp_path / "other.key") != key


@pytest.mark.parametrize("size", [0, KEY_BYTES - 1, KEY_BYTES + 1])
def test_a_key_file_of_another_size_is_refused_and_kept(tmp_path: Path, size: int) -> None:
    path = tmp_path / "secrets.key"
    content = os.urandom(size)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="restore it"):
        key_file_ensure(path)
    assert path.read_bytes() == content
