"""Paths of files, and what a file store refuses."""

PATH_BYTES_MAX = 1_024
COMPONENTS_MAX = 32
COMPONENT_BYTES_MAX = 255


class FileStoreError(Exception):
    """The base of what the file store raises. `path` is the file asked for, or empty."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(message)


class FilePathInvalid(FileStoreError):
    """The path is not one that a file may have."""


class FileMissing(FileStoreError):
    """There is no plain file of this name that can be read."""


class FileInTheWay(FileStoreError):
    """A directory has the name, or something that is no directory is above it."""


class FileOverLimit(FileStoreError):
    """The content is longer than `limit` bytes."""

    def __init__(self, path: str, limit: int) -> None:
        self.limit = limit
        super().__init__(path, f"a file has at most {limit} bytes")


class FileTreeTooLarge(FileStoreError):
    """Listing would look at more than the bounded number of entries."""


class FileStorageFull(FileStoreError):
    """The disk or its quota is full."""


class FileChanged(FileStoreError):
    """The file became shorter while it was read."""


def path_split(path: str) -> tuple[str, ...]:
    """The components of a file's path. Raises FilePathInvalid."""
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise FilePathInvalid(path, "the path is not UTF-8 text") from None
    components = tuple(path.split("/"))
    if len(raw) > PATH_BYTES_MAX or len(components) > COMPONENTS_MAX:
        raise FilePathInvalid(
            path, f"a path has at most {PATH_BYTES_MAX} bytes and {COMPONENTS_MAX} components"
        )
    for component in components:
        if not component_is_valid(component):
            raise FilePathInvalid(
                path,
                "a path is relative, and none of its components is empty, '.', '..', longer than "
                f"{COMPONENT_BYTES_MAX} bytes or holds control characters",
            )
    return components


def prefix_check(prefix: str) -> None:
    """Raise FilePathInvalid if no path could begin with `prefix`."""
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        raise FilePathInvalid(prefix, "the prefix is not UTF-8 text") from None
    if size > PATH_BYTES_MAX:
        raise FilePathInvalid(prefix, f"a path has at most {PATH_BYTES_MAX} bytes")


def component_is_valid(name: str) -> bool:
    """Whether a file or directory of this name can be part of a path."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    if name in ("", ".", "..") or "/" in name or size > COMPONENT_BYTES_MAX:
        return False
    return not any(ord(character) < 0x20 or ord(character) == 0x7F for character in name)
