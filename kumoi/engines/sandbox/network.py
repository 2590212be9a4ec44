"""The empty network of a task, made by its supervisor where that may.

Making and ending a network namespace is a sixth of the cost of a sandbox, so a supervisor keeps its own for
the next attempt of the same project: nothing is left in it but counters, which are the project's own. The
task has no privilege over it, since it belongs to the host's user namespace.
"""

import ctypes
import fcntl
import os
import socket
import struct

from kumoi.engines.sandbox.launch import LIBC

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
_REQUEST = struct.Struct("16sh22x")


def network_make() -> None:
    """Move the calling process into a new network that has only a loopback. OSError if it may not."""
    if LIBC.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace of its own is needed")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, _REQUEST.pack(b"lo", IFF_UP))


def network_may_be_made() -> bool:
    """Whether this process may; it stays in the network in which it is."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        network_make()
    except OSError:
        return False
    finally:
        if LIBC.setns(own, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "the way back to the host's network is closed")
        os.close(own)
    return True
