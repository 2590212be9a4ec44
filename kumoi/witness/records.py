"""What a witness remembers: the newest checkpoint that it cosigned of each log, a file each."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Self

from kumoi.ledger.note import MAX_NOTE_BYTES


class Records:
    """The newest cosigned checkpoints in a directory that one process holds at a time."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError where another witness holds the directory: two would sign two histories."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._durable: set[str] = set()
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise OSError(f"another witness uses {directory}; give each a directory of its own") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def read(self, origin: str) -> bytes | None:
        """The newest checkpoint of the log as its log signed it, None before the first."""
        try:
            with self._path(origin).open("rb") as file:
                return file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None

    def write(self, origin: str, checkpoint: bytes) -> None:
        """Replace it durably: when this returns, no crash and no power cut brings the older one back."""
        self._durable.discard(origin)
        path = self._path(origin)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(checkpoint)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._durable.add(origin)

    def is_durable(self, origin: str) -> bool:
        """Whether this process wrote the record of the log whole: what was found may be lost yet."""
        return origin in self._durable

    def _path(self, origin: str) -> Path:
        return self._directory / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"
