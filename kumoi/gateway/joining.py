"""Sockets from inside user and network namespaces, for a gateway that is not root.

setns(2) into a user namespace needs a process with one thread. So a small process waits beside the gateway;
for every socket it forks a child, which joins, makes the socket, passes it back (SCM_RIGHTS) and ends. The
user namespace is the one that owns the network, which need not be that of the processes inside.
"""

import array
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Final

from kumoi.model.routes import Endpoint

ANSWER_S: Final = 1.0
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000
NS_GET_USERNS: Final = 0xB701
"""See ioctl_ns(2)."""
_PROGRAM: Final = "from kumoi.gateway.joining import joiner_run; joiner_run()"


class Joiner:
    """The helper process. Used from one thread at a time; started when it is first needed."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                close_fds=True,
            )
        ours.settimeout(ANSWER_S)
        self.broken = False
        self._socket = ours

    def socket_make(self, endpoint: Endpoint, family: int) -> socket.socket:
        """An unconnected TCP socket inside the endpoint's namespaces; OSError says what stood in the way."""
        self.broken = True  # an answer that comes too late would be taken for the next one's
        self._socket.send(json.dumps([endpoint.netns, family]).encode())
        text, files, _flags, _address = socket.recv_fds(self._socket, 1_024, 1)
        self.broken = not text
        if not files:
            raise OSError(text.decode() or "the helper that joins namespaces has ended")
        return socket.socket(fileno=files[0])

    def close(self) -> None:
        """End the helper."""
        self._socket.close()
        try:
            self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def joiner_run() -> None:
    """The helper: one order a packet on standard input, until the gateway is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=0)
    while order := orders.recv(65_536):
        if os.fork() == 0:
            try:
                _order_do(orders, order)
            finally:
                os._exit(0)


def _order_do(orders: socket.socket, order: bytes) -> None:
    try:
        netns, family = json.loads(order)
        libc = ctypes.CDLL(None, use_errno=True)
        network = os.open(netns, os.O_RDONLY)
        owner = fcntl.ioctl(network, NS_GET_USERNS)
        for file, kind in ((owner, CLONE_NEWUSER), (network, CLONE_NEWNET)):
            if libc.setns(file, kind) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        orders.send(f"joining a namespace: {error}".encode())
        return
    rights = array.array("i", [made.fileno()])
    orders.sendmsg([b"ok"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
