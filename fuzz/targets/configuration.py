"""TOML files of operators: witnesses, providers, settings."""

from collections.abc import Iterator
from contextlib import suppress

from fuzz.material import LOG, WITNESSES, place_make
from kumoi.ledger.note import vkey_format
from kumoi.main.up import settings_load
from kumoi.main.witnesses_file import witnesses_read
from kumoi.providers.file import providers_read

PLACE = place_make()


def seeds() -> Iterator[bytes]:
    """The files as the pages for operators show them."""
    named = "".join(
        f'[[witnesses]]\nurl = "https://w.example/"\nvkey = "{vkey_format(one.key)}"\n' for one in WITNESSES
    )
    yield f"quorum = 2\n{named}".encode()
    yield b'[kyoto]\nkind = "ec2"\njurisdiction = "JP"\nregion = "kyoto-1"\ncredentials = "secret"\n'
    yield b'listen = "127.0.0.1:8080"\nregion = "r"\nlog_interval_s = 1.5\ngateway = false\n'


def check(data: bytes) -> None:
    """A wrong file is told by a ValueError, or the error of the operating system."""
    file = PLACE / "kumoi.toml"
    file.write_bytes(data)
    with suppress(ValueError, OSError):
        witnesses_read(str(file), LOG.key)
    with suppress(ValueError, OSError):
        providers_read(file)
    with suppress(ValueError, OSError):
        settings_load(PLACE, {})
