"""The file that names the providers. Credentials are in files of their own, closed to everybody else.

[kyoto]
kind = "openstack"              # or "ec2"
jurisdiction = "JP"             # where its machines stand
region = "kyoto-1"
host = "keystone.example.jp"    # not needed for Amazon's own EC2
port = 5000
project = "kumoi"               # OpenStack only, as `domain`
credentials = "kyoto.credentials"
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kumoi.model.ids import Name
from kumoi.model.places import CountryCode
from kumoi.providers.base import Provider
from kumoi.providers.libcloud import DIALECTS, Access, LibcloudProvider, credentials_read

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ProviderEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. `credentials` is a path, beside the file unless it is absolute."""

    kind: Literal["ec2", "openstack"]
    jurisdiction: CountryCode
    region: Annotated[str, Meta(min_length=1, max_length=100)]
    credentials: Annotated[str, Meta(min_length=1)]
    host: Annotated[str, Meta(max_length=253)] = ""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 443
    secure: bool = True
    project: str = ""
    domain: str = "Default"


def providers_read(path: Path) -> dict[str, Provider]:
    """The providers of the file by name. Raises OSError, or ValueError naming what is wrong and where."""
    try:
        tables = msgspec.convert(tomllib.loads(path.read_text()), dict[Name, ProviderEntry])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise ValueError(f"{path} does not name providers as it should: {error}") from error
    return {name: _provider(path, name, entry) for name, entry in tables.items()}


def _provider(path: Path, name: str, entry: ProviderEntry) -> Provider:
    if entry.kind == "openstack" and not (entry.host and entry.project):
        raise ValueError(
            f"{path}: the provider {name} needs host and project: where Keystone is, and for whom"
        )
    if not entry.secure and entry.host not in _LOOPBACK:
        raise ValueError(
            f"{path}: the provider {name} would send credentials in the clear; leave out `secure`"
        )
    user, secret = credentials_read(path.parent / entry.credentials)
    access = Access(
        region=entry.region,
        host=entry.host,
        port=entry.port,
        secure=entry.secure,
        user=user,
        secret=secret,
        project=entry.project,
        domain=entry.domain,
    )
    return LibcloudProvider(name, entry.jurisdiction, DIALECTS[entry.kind](), access)
