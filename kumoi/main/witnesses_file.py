"""The file that names the witnesses of the log. Without it whatever is signed is published at once.

quorum = 2                                  # so many must have cosigned what is published

[[witnesses]]
url = "https://witness.example.org/"        # `add-checkpoint` is below it
vkey = "witness.example.org/w1+1a2b3c4d+BAEC..."
"""

import hashlib
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import SignatureType, VerifierKey, vkey_parse
from kumoi.loops.witness_asking import Witness
from kumoi.loops.witnesses import Quorum
from kumoi.model.witnesses import WitnessAddress, WitnessRules


def witnesses_read(file: str, log: VerifierKey) -> tuple[WitnessRules, Quorum]:
    """The rules of the file, "" for none. Raises OSError, or ValueError naming what is wrong and where."""
    if not file:
        return WitnessRules(), Quorum(log, 0, ())
    try:
        rules = msgspec.convert(tomllib.loads(Path(file).read_text()), WitnessRules)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise ValueError(f"{file} does not name witnesses as it should: {error}") from error
    witnesses = tuple(_witness(file, one) for one in rules.witnesses)
    if len({one.key.public_key for one in witnesses}) < len(witnesses):
        raise ValueError(f"{file}: two witnesses have the same key; each counts once")
    if len({(key.name, key.key_id) for key in (log, *(one.key for one in witnesses))}) <= len(witnesses):
        raise ValueError(f"{file}: two keys share name and key id; one's signature would replace the other's")
    if not 1 <= rules.quorum <= len(witnesses):
        raise ValueError(f"{file}: quorum must be 1 to {len(witnesses)}, not {rules.quorum}")
    return rules, Quorum(log, rules.quorum, witnesses, _digest(rules))


def _witness(file: str, given: WitnessAddress) -> Witness:
    try:
        key = vkey_parse(given.vkey)
        place = urlsplit(given.url)
        is_somewhere = bool(place.hostname) and place.port != 0
    except (LedgerError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error
    if not is_somewhere:
        raise ValueError(f"{file}: {given.url} names no host")
    if key.signature_type is not SignatureType.COSIGNATURE_V1:
        raise ValueError(f"{file}: {given.vkey} is no witness's key; `kumoi witness` prints its own at start")
    return Witness(given.url, key)


def _digest(rules: WitnessRules) -> str:
    """What names the rules: the quorum and the keys, wherever they are asked."""
    named = [str(rules.quorum), *sorted(one.vkey for one in rules.witnesses)]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()
