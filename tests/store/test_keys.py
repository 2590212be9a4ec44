"""Keys at rest: what is sealed opens as what it was sealed for, and as nothing else."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from region_rows import PLATFORM_KEYS, RegionRows

from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import MissingReference
from kumoi.store.keys.ciphers import KEY_BYTES
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.errors import KeyUnavailable, SealBroken
from kumoi.store.keys.names import Sealed, SealedName, additional
from kumoi.store.keys.platform import PlatformKeys, key_file_ensure
from kumoi.store.keys.ring import KeyRing
from kumoi.store.writer import Change


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[RegionRows]:
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    yield RegionRows(store)
    store.close()


@pytest.fixture
def ring(rows: RegionRows) -> KeyRing:
    return KeyRing(rows.store, KeyEncryptions(PLATFORM_KEYS))


@pytest.fixture
def name(rows: RegionRows) -> SealedName:
    return SealedName("secret", rows.organizations["one"], (rows.projects["one"], "db-password"))


@pytest.mark.parametrize("value", [b"", b"x", os.urandom(65_536)])
def test_what_is_sealed_opens_again(ring: KeyRing, name: SealedName, value: bytes) -> None:
    sealed = ring.seal(name, value)
    assert ring.open(name, sealed) == value
    assert value == b"" or value not in sealed.blob or len(value) == 1


def test_each_is_sealed_under_a_key_of_its_own(ring: KeyRing, name: SealedName) -> None:
    one, two = ring.seal(name, b"value"), ring.seal(name, b"value")
    assert one.blob[1:61] != two.blob[1:61]
    mixed = Sealed(one.blob[:61] + two.blob[61:], one.key_version)
    with pytest.raises(SealBroken):
        ring.open(name, mixed)


def test_it_opens_as_nothing_else(ring: KeyRing, rows: RegionRows, name: SealedName) -> None:
    sealed = ring.seal(name, b"value")
    for other in (
        replace(name, kind="spec"),
        replace(name, organization_id=rows.organizations["two"]),
        replace(name, owner=(rows.projects["two"], "db-password")),
        replace(name, owner=(rows.projects["one"], "other")),
        replace(name, owner=(*name.owner, "")),
    ):
        with pytest.raises(SealBroken):
            ring.open(other, sealed)


def test_an_organization_key_is_of_one_organization(rows: RegionRows, name: SealedName) -> None:
    table = schema.organization_keys
    one, two = (
        rows.rows(table, organization_id=rows.organizations[which])[0].wrapped_key for which in ("one", "two")
    )
    assert one != two
    statement = table.update().where(table.c.organization_id == name.organization_id)
    rows.store.transact_wait(None, lambda c: c.execute(statement, {"wrapped_key": two}))
    with pytest.raises(SealBroken):
        KeyRing(rows.store, KeyEncryptions(PLATFORM_KEYS)).seal(name, b"value")


@pytest.mark.parametrize("position", [0, 1, 20, 60, 61, 75, -1])
def test_a_changed_byte_is_noticed(ring: KeyRing, name: SealedName, position: int) -> None:
    sealed = ring.seal(name, b"value")
    raw = bytearray(sealed.blob)
    raw[position] ^= 1
    with pytest.raises(SealBroken):
        ring.open(name, replace(sealed, blob=bytes(raw)))


@pytest.mark.parametrize("kept", [0, 1, 12, 61, 73, 80])
def test_a_cut_blob_is_noticed(ring: KeyRing, name: SealedName, kept: int) -> None:
    sealed = ring.seal(name, b"value")
    with pytest.raises(SealBroken):
        ring.open(name, replace(sealed, blob=sealed.blob[:kept]))


def test_a_version_that_is_not_there_is_said(ring: KeyRing, name: SealedName) -> None:
    with pytest.raises(KeyUnavailable, match="version 2"):
        ring.open(name, replace(ring.seal(name, b"value"), key_version=2))


def test_another_platform_key_opens_nothing(rows: RegionRows, ring: KeyRing, name: SealedName) -> None:
    sealed = ring.seal(name, b"value")
    with pytest.raises(SealBroken):
        KeyRing(rows.store, KeyEncryptions(PlatformKeys({1: os.urandom(32)}))).open(name, sealed)
    with pytest.raises(KeyUnavailable, match="platform/1"):
        KeyRing(rows.store, KeyEncryptions(PlatformKeys({2: bytes(32)}))).open(name, sealed)


def test_nothing_is_kept_under_a_key_that_does_not_exist(rows: RegionRows, name: SealedName) -> None:
    row = {
        "id": "sec_1",
        "organization_id": name.organization_id,
        "project_id": name.owner[0],
        "name": "x",
        "sealed": b"",
        "key_version": 2,
        "created_us": 1,
        "updated_us": 1,
    }
    with pytest.raises(MissingReference):
        rows.store.commit_wait(Change([(schema.secrets, [row])]))


def test_names_are_told_apart_and_hold_no_separator() -> None:
    assert additional("content", "ab", "c") != additional("content", "a", "bc")
    with pytest.raises(ValueError, match="NUL"):
        additional("content", "a\0b")


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


def test_versions_of_the_platform_key_are_found_as_they_come(tmp_path: Path) -> None:
    key_file_ensure(tmp_path / "secrets.key")
    keys = PlatformKeys.read(tmp_path)
    assert keys.current.name == "platform/1"
    key_file_ensure(tmp_path / "secrets-2.key")
    wrapped = PlatformKeys.read(tmp_path).find("platform/2").wrap(bytes(32), b"what")
    assert keys.find("platform/2").unwrap(wrapped, b"what") == bytes(32)
    with pytest.raises(KeyUnavailable, match="platform/3"):
        keys.find("platform/3")
