# ruff: noqa: PTH102, PTH103
"""A view of the file system that only a fork-server and its children have."""

import ctypes
import errno
import os

from kumoi.engines.sandbox.launch import LIBC

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x40000, 0x80000
_STAGE = "/run/kumoi-sandbox"


def mounts_make_own() -> None:
    """Give this process and its children mounts of their own, which nobody else sees."""
    if LIBC.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "a mount namespace of its own is needed")
    mount(b"none", b"/", b"", MS_REC | MS_SLAVE)


def memory_directory_make(path: str, mode: str, size: str) -> None:
    """A directory in memory at `path`, which is never swapped where the kernel can promise it (Linux 6.4)."""
    os.makedirs(path, mode=0o755, exist_ok=True)
    options = f"size={size},mode={mode}".encode()
    try:
        mount(b"tmpfs", path.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options + b",noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount(b"tmpfs", path.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options)


def stage(etc: str, files: str) -> tuple[str, str]:
    """Where the projects' users reach the two directories, which are closed to them.

    bubblewrap runs as such a user, who cannot pass through the data directory. So this process and its
    children get a view of the file system of their own, in which both appear at an open place; nobody else
    sees them there.
    """
    mounts_make_own()
    sources = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (etc, files)]
    memory_directory_make(_STAGE, "755", "64k")
    targets = f"{_STAGE}/etc", f"{_STAGE}/files"
    for source, target in zip(sources, targets, strict=True):
        os.mkdir(target, 0o755)
        mount(f"/proc/self/fd/{source}".encode(), target.encode(), b"", MS_BIND | MS_REC)
        os.close(source)
    return targets


def mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes = b"") -> None:
    """mount(2). OSError, saying what on what, if it fails."""
    if LIBC.mount(source, target, kind, flags, options):
        raise OSError(ctypes.get_errno(), f"mount {source.decode()} on {target.decode()}")
