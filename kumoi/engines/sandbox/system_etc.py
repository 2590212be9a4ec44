"""The /etc that tasks get: what programs expect there and everybody may know, nothing of the host's own."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from kumoi.engines.sandbox.bubblewrap import HOSTNAME, SANDBOX_UID

_WRITTEN = {
    "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    f"task:x:{SANDBOX_UID}:{SANDBOX_UID}:task:/tmp:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": f"root:x:0:\ntask:x:{SANDBOX_UID}:\nnogroup:x:65534:\n",
    "hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {HOSTNAME}\n",
    "hostname": f"{HOSTNAME}\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}
_COPIED = (
    *("alternatives", "debian_version", "fonts", "gai.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("localtime", "mime.types", "os-release", "perl", "protocols", "python3", "services", "ssl/certs"),
    *("ssl/openssl.cnf", "timezone"),
)
_READABLE_BY_ALL = 0o004


def etc_make(directory: Path, source: Path = Path("/etc")) -> None:
    """Fill `directory`. Each file is replaced atomically, since tasks that run may be reading it; when the
    host's files have not changed since the last time nothing is done."""
    stamp = json.dumps([[*_WRITTEN.items()], [[name, _stamp(source / name)] for name in _COPIED]])
    marker = directory.with_name(f"{directory.name}.stamp")
    if marker.exists() and marker.read_text() == stamp:
        return
    for name, text in _WRITTEN.items():
        _place(directory / name, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    for name in _COPIED:
        _copy(source / name, directory / name)
    marker.write_text(stamp)


def _stamp(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        _place(target, lambda path: path.symlink_to(source.readlink()))
    elif source.is_dir():
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.is_file() and source.stat().st_mode & _READABLE_BY_ALL:
        _place(target, lambda path: shutil.copyfile(source, path))


def _place(target: Path, write: Callable[[Path], object]) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    write(temporary)
    if not temporary.is_symlink():
        temporary.chmod(0o644)
    temporary.rename(target)
