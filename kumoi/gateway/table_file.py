"""The last good table, as a file: what the gateway serves from when it starts and no plane is there."""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from kumoi.model.errors import UNDECODABLE
from kumoi.model.routes import RouteTable

NAME: Final = "table.json"
_log = logging.getLogger(__name__)


def table_keep(directory: Path, table: RouteTable) -> None:
    """Write it so that a crash leaves the old one or the new one."""
    place = directory / NAME
    draft = place.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(table))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place)


def table_load(directory: Path) -> RouteTable | None:
    """The table that was kept; None if there is none, or none that can be read."""
    try:
        return msgspec.json.decode((directory / NAME).read_bytes(), type=RouteTable)
    except FileNotFoundError:
        return None
    except (OSError, *UNDECODABLE) as error:
        _log.warning("the kept table cannot be used, waiting for the plane: %s", error)
        return None
