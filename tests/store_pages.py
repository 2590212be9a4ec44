"""What lies on a region's disk, as who has the key of its store reads it: pages, also rows deleted since.

Written from the format's description (https://www.zetetic.net/sqlcipher/design/), not with SQLCipher: a page
is AES-256-CBC, its initialization vector and its authentication code at its end.
"""

from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

PAGE = 4096
IV = 16
TAIL = IV + 32
SALT = 16
LOG_HEADER = 32
FRAME_HEADER = 24


def bytes_of(path: Path, keys: Path | None = None) -> bytes:
    """The content of a file; of a store's file or its write-ahead log, what they hold opened."""
    content = path.read_bytes()
    if path.name not in ("kumoi.db", "kumoi.db-wal"):
        return content
    key = ((keys or path.parent / "keys") / "store.key").read_bytes()
    if path.name == "kumoi.db":
        pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
        return b"".join(page_open(page, key, first=number == 0) for number, page in enumerate(pages))
    step = FRAME_HEADER + PAGE
    frames = [content[at : at + step] for at in range(LOG_HEADER, len(content) - step + 1, step)]
    return b"".join(page_open(frame[FRAME_HEADER:], key, first=frame[:4] == b"\0\0\0\1") for frame in frames)


def page_open(page: bytes, key: bytes, *, first: bool) -> bytes:
    """The plain bytes of one page; the first begins with a salt in the clear."""
    sealed = page[SALT if first else 0 : -TAIL]
    vector = page[-TAIL : IV - TAIL]
    decryptor = Cipher(AES(key), CBC(vector)).decryptor()
    opened = decryptor.update(sealed) + decryptor.finalize()
    # The header says how large a page is; under another key it would say anything.
    assert not first or opened[:2] == PAGE.to_bytes(2, "big")
    return opened


def store_bytes(directory: Path) -> bytes:
    """All that the store in this directory holds, in its file and in its write-ahead log."""
    return b"".join(bytes_of(path) for path in sorted(directory.glob("kumoi.db*")))
