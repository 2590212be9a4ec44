"""The platform's key-encryption key: files of 32 bytes (mode 600), one for each version."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kumoi.store.keys.ciphers import KEY_BYTES, cipher_of, decrypt, encrypt
from kumoi.store.keys.errors import KeyUnavailable

_FILE_NAME = re.compile(r"secrets(?:-([1-9][0-9]{0,5}))?\.key")


class FileKey:
    """One version of the platform's key."""

    def __init__(self, version: int, key: bytes) -> None:
        self.version = version
        self.name = f"{PlatformKeys.PREFIX}{version}"
        self._cipher: AESGCM = cipher_of(key)

    def wrap(self, key: bytes, additional: bytes) -> bytes:
        """`key`, encrypted and authenticated together with `additional`."""
        return encrypt(self._cipher, key, additional)

    def unwrap(self, wrapped: bytes, additional: bytes) -> bytes:
        """What `wrap` wrapped. Raises SealBroken."""
        return decrypt(self._cipher, wrapped, additional)


class PlatformKeys:
    """All versions of the platform's key; the highest is the current one.

    Version 1 is `secrets.key`, version N `secrets-N.key`. With a directory, versions that another plane
    made meanwhile are found too.
    """

    PREFIX = "platform/"

    def __init__(self, keys: Mapping[int, bytes], directory: Path | None = None) -> None:
        self._keys = {version: FileKey(version, key) for version, key in keys.items()}
        self._directory = directory

    @classmethod
    def read(cls, directory: Path) -> "PlatformKeys":
        """Every version in `directory`. Raises ValueError for a file that is no key."""
        return cls(_versions_read(directory), directory)

    @property
    def versions(self) -> Sequence[int]:
        """The versions that are known, oldest first."""
        return sorted(self._keys)

    def path(self, name: str) -> Path:
        """The file of the version of this name. Only for keys that were read from a directory."""
        return _path(self._directory or Path(), int(name.removeprefix(self.PREFIX)))

    @property
    def current(self) -> FileKey:
        """What new keys are wrapped with: the newest version, whichever plane made it."""
        if self._directory is not None:
            self._refresh(self._directory)
        return self._keys[max(self._keys)]

    def rotate(self) -> FileKey:
        """Make the next version, durably; it is the current one from now on."""
        version = self.current.version + 1
        if self._directory is None:
            self._keys = self._keys | {version: FileKey(version, os.urandom(KEY_BYTES))}
        else:
            key_file_ensure(_path(self._directory, version))
        return self.current

    def destroy(self, version: int, before_s: float) -> bool:
        """Remove an old version from the disk and from memory; False where a newer one is not that old.

        `before_s`: when the newest must have been made, in seconds since 1970. The caller has seen that no
        row uses the version.
        """
        newest = self.current.version
        if self._directory is not None:
            if version >= newest or _path(self._directory, newest).stat().st_mtime > before_s:
                return False
            _path(self._directory, version).unlink(missing_ok=True)
        self._keys = {number: key for number, key in self._keys.items() if number != version}
        return True

    def old(self) -> list[FileKey]:
        """The versions that are not current."""
        newest = self.current.version
        return [key for version, key in sorted(self._keys.items()) if version != newest]

    def find(self, name: str) -> FileKey:
        """The version of this name. Raises KeyUnavailable."""
        version = name.removeprefix(self.PREFIX)
        known = self._keys.get(int(version)) if version.isdecimal() else None
        if known is None and self._directory is not None:
            self._refresh(self._directory)
            known = self._keys.get(int(version)) if version.isdecimal() else None
        if known is None:
            raise KeyUnavailable(
                f"the platform's key {name} is not among this plane's keys; restore its file"
            )
        return known

    def _refresh(self, directory: Path) -> None:
        """Take in the versions that another plane made. What is known stays: a key is never replaced."""
        found = _versions_read(directory)
        added = {
            version: FileKey(version, key) for version, key in found.items() if version not in self._keys
        }
        self._keys = self._keys | added


def _path(directory: Path, version: int) -> Path:
    return directory / ("secrets.key" if version == 1 else f"secrets-{version}.key")


def _versions_read(directory: Path) -> dict[int, bytes]:
    found = {}
    for path in directory.iterdir():
        match = _FILE_NAME.fullmatch(path.name)
        if match is not None:
            found[int(match[1] or 1)] = key_file_read(path)
    return found


def key_file_ensure(path: Path) -> bytes:
    """The 32-byte key in `path` (mode 600), made at first use: after a crash all of it is there, or nothing.

    Raises ValueError for a file of another size.
    """
    if not path.exists():
        _key_file_make(path)
    return key_file_read(path)


def key_file_read(path: Path) -> bytes:
    """The 32-byte key in `path`. Raises ValueError where it is lost or of another size."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path} is lost, and no other key will do; restore it from the backup of this region"
        ) from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes, a key has {KEY_BYTES}; restore it")
    return key


def _key_file_make(path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the key that another process made meanwhile.
        with suppress(FileExistsError):
            os.link(file.name, path)
    directory_sync(path.parent)


def directory_sync(path: Path) -> None:
    """Make the names in the directory `path` durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
