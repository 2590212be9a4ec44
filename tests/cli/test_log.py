"""`kumoi log`: an honest log verifies, from the plane and from a mirror; a tampered one does not."""

import base64
import json
from hashlib import sha256

import fake_rows as rows
import pytest

from kumoi.ledger.note import SignatureType, Signer, vkey_format

pytestmark = pytest.mark.usefixtures("logged_in")
WITNESS = vkey_format(Signer("w.example", b"\1" * 32, SignatureType.COSIGNATURE_V1).key)
EVENT = rows.id_make("evt", 2)


@pytest.fixture
def vkey(plane):
    plane.log.grow([sha256(b"%d" % i).digest() for i in range(600)])
    return vkey_format(plane.log.signer.key)


@pytest.fixture
def mirror(kumoi, vkey, tmp_path):
    ran = kumoi("log", "mirror", tmp_path / "mirror", "--vkey", vkey)
    assert ran.code == 0, ran.err
    return tmp_path / "mirror"


@pytest.fixture
def receipt(kumoi, vkey, tmp_path):
    path = tmp_path / "receipt.json"
    assert kumoi("log", "receipt", EVENT, "-o", path).out == f"{path}\n"
    return path


def test_witnesses_are_shown_with_how_far_each_came(kumoi, running):
    ran = kumoi("log", "witnesses")
    assert ran.out.split("\n")[0].split("\t") == ["w.example/1", "600", "2026-01-31T09:00:00.000000Z", ""]
    assert "it does not answer" in ran.out
    assert "600 of 603 entries are published" in ran.err
    assert kumoi("log", "witnesses", "--json").json["quorum"] == 1


def test_the_plane_verifies(kumoi, running, vkey, receipt):
    ran = kumoi("log", "verify", "--vkey", vkey, "--receipt", receipt, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["verified"], ran.json["size"]) == (True, 603)
    assert ran.json["receipts"][0]["id"] == EVENT
    assert ran.json["receipts"][0]["log_index"] == 1


def test_a_mirror_verifies_without_the_plane(kumoi, running, vkey, mirror, receipt, tmp_path):
    old = tmp_path / "old"
    old.write_bytes((mirror / "checkpoint").read_bytes())
    running.stop()
    (tmp_path / "vkey").write_text(vkey + "\n")
    ran = kumoi(
        "log",
        "verify",
        "--dir",
        mirror,
        "--vkey",
        f"@{tmp_path / 'vkey'}",
        "--receipt",
        receipt,
        "--old-checkpoint",
        old,
    )
    assert ran.code == 0, ran.err
    assert ["verified", "true"] in ran.lines
    assert ["older_checked", "1"] in ran.lines


def test_a_mirror_fetches_only_what_is_new(kumoi, plane, vkey, mirror):
    old = (mirror / "checkpoint").read_bytes()
    (mirror.parent / "old").write_bytes(old)
    plane.log.grow([sha256(b"new").digest()])
    asked = len(plane.asked)
    assert kumoi("log", "mirror", mirror, "--vkey", vkey).code == 0
    new = {a.path for a in plane.asked[asked:]}
    assert not {path for path in new if path.endswith(("/000", "/001"))}
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey, "--old-checkpoint", mirror.parent / "old")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    "name", ["tile/0/000", "tile/0/002.p/91", "tile/1/000.p/2", "tile/entries/001", "checkpoint"]
)
def test_a_tampered_file_is_caught(kumoi, vkey, mirror, name):
    path = mirror / name
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey)
    assert ran.code == 8, ran.out
    assert "evidence" in ran.err


def test_a_missing_file_is_caught(kumoi, vkey, mirror):
    (mirror / "tile/0/001").unlink()
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey)
    assert ran.code == 8
    assert "tile/0/001" in ran.err


def test_another_log_is_caught(kumoi, vkey, mirror):
    other = vkey_format(Signer("kumoi.local/fake", b"\x08" * 32).key)
    assert kumoi("log", "verify", "--dir", mirror, "--vkey", other).code == 8
    assert kumoi("log", "mirror", mirror, "--vkey", other).code == 8


def test_a_log_that_was_cut_is_caught(kumoi, plane, vkey, mirror, tmp_path):
    plane.log.grow([sha256(b"gone").digest()])
    (tmp_path / "newer").write_bytes(plane.log.checkpoint)
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey, "--old-checkpoint", tmp_path / "newer")
    assert ran.code == 8
    assert "shortened" in ran.err


def receipt_alter(path, change):
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))


def canonical_alter(held):
    raw = base64.b64decode(held["canonical"]).replace(b'"n":1', b'"n":2')
    held["canonical"] = base64.b64encode(raw).decode()
    held["event"]["detail"]["n"] = 2


@pytest.mark.parametrize(
    "change",
    [
        canonical_alter,
        lambda held: held["event"].update(actor="usr_somebody"),
        lambda held: held["event"]["detail"].update(n=7),
        lambda held: held["event"].update(log_index=5),
        lambda held: held.update(salt=base64.b64encode(b"\x09" * 32).decode()),
        lambda held: held.update(salt="short"),
        lambda held: held.update(proof=held["proof"].replace("index 1", "index 2")),
        lambda held: held.pop("proof"),
    ],
    ids=["event", "shown actor", "shown detail", "shown index", "salt", "no salt", "index", "no proof"],
)
def test_a_tampered_receipt_is_caught(kumoi, vkey, mirror, receipt, change):
    receipt_alter(receipt, change)
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey, "--receipt", receipt)
    assert ran.code == 8, ran.out


def test_a_receipt_is_waited_for_or_not(kumoi, plane, vkey):
    plane.unlogged = 1
    ran = kumoi("log", "receipt", EVENT, "-o", "-", "--timeout", "0")
    assert ran.code == 6
    plane.unlogged = 1
    assert kumoi("log", "receipt", EVENT, "-o", "-").json["event"]["id"] == EVENT


def test_checkpoint_and_key_as_the_plane_shows_them(kumoi, plane, vkey):
    assert kumoi("log", "vkey").out == vkey + "\n"
    assert kumoi("log", "checkpoint").out.encode() == plane.log.checkpoint
    assert kumoi("log", "checkpoint", "--json").json["size"] == 603


@pytest.mark.parametrize("given", ["nonsense", "a+b+c", ""])
def test_a_key_must_be_one(kumoi, given):
    ran = kumoi("log", "verify", "--vkey", given)
    assert ran.code == 2
    assert "--vkey" in ran.err


def test_the_public_log_needs_no_token(kumoi, plane, vkey, monkeypatch):
    monkeypatch.delenv("KUMOI_TOKEN")
    assert kumoi("log", "verify", "--vkey", vkey).code == 0
    assert {a.headers.get("authorization") for a in plane.asked} == {None}


def test_a_quorum_of_witnesses_is_asked_for(kumoi, vkey, mirror):
    assert kumoi("log", "verify", "--dir", mirror, "--vkey", vkey, "--witness", WITNESS).code == 8


def test_a_trust_that_cannot_be_is_a_mistake_and_no_evidence(kumoi, vkey, mirror):
    verify = ("log", "verify", "--dir", mirror, "--vkey", vkey)
    assert "--quorum" in kumoi(*verify, "--quorum", "1").err
    assert "--quorum" in kumoi(*verify, "--witness", WITNESS, "--witness", WITNESS, "--quorum", "2").err
    assert "--witness" in kumoi(*verify, "--witness", vkey).err
    assert "--vkey" in kumoi("log", "verify", "--dir", mirror, "--vkey", WITNESS).err
    assert kumoi(*verify, "--quorum", "1").code == 2


def test_a_mirror_that_is_older_than_a_receipt_accuses_nobody(kumoi, plane, vkey, mirror, tmp_path):
    """The receipt is of a later state of the log than the copy on disk: the copy has to be made again."""
    plane.log.grow([sha256(b"new").digest()])
    receipt = tmp_path / "receipt.json"
    assert kumoi("log", "receipt", EVENT, "-o", receipt).code == 0
    check = ("log", "verify", "--dir", mirror, "--vkey", vkey, "--receipt", receipt)
    ran = kumoi(*check)
    assert ran.code == 2
    assert "mirror the log again" in ran.err
    assert kumoi("log", "mirror", mirror, "--vkey", vkey).code == 0
    assert kumoi(*check).code == 0
