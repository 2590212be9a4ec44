# ruff: noqa: PTH103, PTH108
"""How a serving attempt is reached: its supervisor publishes the network namespace, and withdraws it.

As root the namespace gets a name below /run/netns (the place of ip-netns(8), in which HAProxy's `namespace`
looks too): a bind mount, which holds it as long as the name is there. It is made in the mount namespace of
the plane, since that of the fork-server is seen by nobody else. Elsewhere bubblewrap makes the namespace, and
it is reached through the first process in it.

`tasks/<ref>/network` says which: {"version", "netns", "userns", "inode", "port"}. Who reads it compares the
inode, so that neither a name nor a process that is somebody else's by now is taken for the attempt's.
"""

import contextlib
import ctypes
import json
import os
from collections.abc import Iterator

from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.launch import LIBC
from kumoi.engines.sandbox.task import Setting, Task

NETWORKS = "/run/netns"
OWN_NETWORK = "/proc/self/ns/net"
_OWN_MOUNTS = "/proc/self/ns/mnt"
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MNT_DETACH = 0x1000, 0x2


def publish(setting: Setting, task: Task) -> bool:
    """Let the supervisor's own network, in which the attempt will be, be reached by its name.

    False, and nothing happens, for an attempt that does not serve or that gets its network from bubblewrap.
    OSError if the name cannot be made.
    """
    port = task["port"]
    if port is None or not setting.makes_network:
        return False
    name = f"{NETWORKS}/{task['name']}"
    network = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _mounts_of_plane(setting.mounts_fd):
            network_bind(f"/proc/self/fd/{network}", name)
        note_write(setting.layout, task["ref"], port, name, "", os.fstat(network).st_ino)
    finally:
        os.close(network)
    return True


def publish_inner(layout: records.Layout, task: Task, told: dict[str, object]) -> None:
    """Say how the network that bubblewrap made is reached, from what it tells of its child.

    bubblewrap nests two user namespaces and the network belongs to the outer one, in which no process is:
    it is found with ioctl_ns(2) NS_GET_USERNS.
    """
    port, child, inode = task["port"], told.get("child-pid"), told.get("net-namespace")
    if port is None or not isinstance(child, int) or not isinstance(inode, int):
        return
    with contextlib.suppress(OSError):  # a full disk: it runs, and nobody finds it
        note_write(layout, task["ref"], port, f"/proc/{child}/ns/net", f"/proc/{child}/ns/user", inode)


def withdraw(setting: Setting, task: Task) -> None:
    """Take the name away. One that stays is taken away by the plane."""
    if task["port"] is not None and setting.makes_network:
        with contextlib.suppress(OSError), _mounts_of_plane(setting.mounts_fd):
            network_unbind(f"{NETWORKS}/{task['name']}")


def note_write(layout: records.Layout, ref: str, port: int, netns: str, userns: str, inode: int) -> None:
    """Say how the attempt is reached. Not durable: after a boot none of it is true."""
    note = {"version": records.VERSION, "netns": netns, "userns": userns, "inode": inode, "port": port}
    path = f"{records.attempt_make(layout, ref)}/network"
    records.file_replace(path, json.dumps(note).encode(), durable=False)


def network_bind(network: str, name: str) -> None:
    """Give a namespace a name; one that a killed supervisor left is replaced."""
    os.makedirs(NETWORKS, mode=0o755, exist_ok=True)
    network_unbind(name)
    os.close(os.open(name, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    if LIBC.mount(network.encode(), name.encode(), b"none", _MS_BIND, None):
        raise OSError(ctypes.get_errno(), f"{name} cannot be made")


def network_unbind(name: str) -> None:
    """Take a name away. Removing the file ends the mount in every other mount namespace too."""
    LIBC.umount2(name.encode(), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)


@contextlib.contextmanager
def _mounts_of_plane(mounts: int) -> Iterator[None]:
    """Act in the plane's mount namespace for a moment."""
    own = os.open(_OWN_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(mounts)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(mounts: int) -> None:
    if LIBC.setns(mounts, _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "a mount namespace cannot be entered")
