"""The file that names the tokens in which tenants may hold their keys.

[[tokens]]
name = "hsm-1"                              # what tenants call it
module = "/usr/lib/softhsm/libsofthsm2.so"  # the PKCS#11 library; it runs inside the plane
uri = "pkcs11:token=acme"                   # RFC 7512, of a token alone
pin_file = "/etc/kumoi/hsm-1.pin"           # mode 600
organizations = ["acme"]                    # whose keys may be there; "*" for everybody
own_labels = true                           # each names only keys labelled NAME.something (default: false)
"""

import stat
import tomllib
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import msgspec

from kumoi.model.ids import Name
from kumoi.store.keys.pkcs11 import session_open
from kumoi.store.keys.tokens import TokenRule, Tokens

_SCHEME = "pkcs11:"


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    module: str
    uri: str
    pin_file: str
    organizations: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    own_labels: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[_Token, ...] = ()


def tokens_read(file: str) -> Tokens:
    """The tokens of the file. Raises OSError, or ValueError naming what is wrong and where."""
    try:
        named = msgspec.convert(tomllib.loads(Path(file).read_text()), _File).tokens
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{file} does not name tokens as it should: {error}") from error
    if len({one.name for one in named}) < len(named):
        raise ValueError(f"{file}: two tokens have the same name; tenants name one by it")
    if len({(one.module, one.uri) for one in named}) < len(named):
        raise ValueError(f"{file}: a token is named twice; a process logs in to a token once")
    return Tokens([_rule(file, one) for one in named], session_open)


def _rule(file: str, given: _Token) -> TokenRule:
    pin_file = Path(given.pin_file)
    if stat.S_IMODE(pin_file.stat().st_mode) & 0o077:
        raise ValueError(f"{file}: {pin_file} can be read by others; chmod 600 {pin_file}")
    if not Path(given.module).is_file():
        raise ValueError(f"{file}: there is no module {given.module}")
    label = _label(file, given)
    return TokenRule(given.name, Path(given.module), label, pin_file, given.organizations, given.own_labels)


def _label(file: str, given: _Token) -> str:
    """The label of the token in its URI (RFC 7512 section 2.3)."""
    attributes = given.uri.removeprefix(_SCHEME).split(";")
    name, _, label = attributes[0].partition("=")
    if not given.uri.startswith(_SCHEME) or len(attributes) != 1 or name != "token" or not label:
        raise ValueError(f"{file}: {given.name}: the uri must be pkcs11:token=LABEL, not {given.uri}")
    return unquote(label)
