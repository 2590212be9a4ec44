"""Which plane, as whom: flags, then KUMOI_* variables, then the configuration file.

The file is `$XDG_CONFIG_HOME/kumoi/config.toml` (`~/.config/kumoi/config.toml`), readable by its owner only,
for it holds the token.
"""

import json
import os
import sys
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kumoi.cli.command import Globals
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _

URL_DEFAULT: Final = "http://127.0.0.1:8080"
KEYS: Final = ("url", "token", "project", "organization")
TOKEN_CHARACTERS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What requests are made with. `project` and `organization` are the defaults of their flags."""

    url: str
    token: str | None = field(repr=False)
    project: str | None
    organization: str | None


def config_path() -> Path:
    """Where the configuration file is."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "kumoi" / "config.toml"


def settings_load(given: Globals) -> ClientSettings:
    """The settings in effect. A flag or variable that is empty counts as absent."""
    stored = config_read()
    url = given.url or os.environ.get("KUMOI_URL") or stored.get("url") or URL_DEFAULT
    if url.rstrip("/") != stored.get("url", URL_DEFAULT).rstrip("/"):
        # What was remembered is of another plane, which alone may see its token.
        stored = {}
    token = token_read(given.token_file) if given.token_file else None

    def chosen(name: str, flag: str | None = None) -> str | None:
        return flag or os.environ.get(f"KUMOI_{name.upper()}") or stored.get(name) or None

    return ClientSettings(url, chosen("token", token), chosen("project"), chosen("organization"))


def config_read() -> dict[str, str]:
    """What the configuration file holds; nothing where there is none."""
    path = config_path()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            stored = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail(
            Exit.USAGE,
            _("{path} is not TOML: {reason}").format(path=path, reason=error),
            _("mend it, or remove it and log in again"),
        ) from error
    if mode & 0o077:
        raise fail(
            Exit.USAGE,
            _("{path} can be read by others, and it holds a token").format(path=path),
            f"chmod 600 {path}",
        )
    return {name: value for name in KEYS if isinstance(value := stored.get(name), str)}


def config_write(values: Mapping[str, str | None]) -> Path:
    """Replace the configuration file, mode 600, at once."""
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name in KEYS if (value := values.get(name))]
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(lines)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def token_read(source: str) -> str:
    """The token in a file, or on standard input for `-`."""
    if source == "-":
        text = sys.stdin.readline(TOKEN_CHARACTERS_MAX + 2)
    else:
        with Path(source).open(encoding="utf-8") as file:
            text = file.readline(TOKEN_CHARACTERS_MAX + 2)
    token = text.strip()
    if not token.isascii() or not token.isprintable() or not 0 < len(token) <= TOKEN_CHARACTERS_MAX:
        raise fail(
            Exit.USAGE,
            _("there is no token in {source}").format(source=source),
            _("a token is one line that begins with kumoi_"),
        )
    return token
