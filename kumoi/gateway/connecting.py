"""Connections to replicas, also into network namespaces.

A socket belongs to the namespace that its thread was in when it was made. As root one thread of its own
goes there and back; it is the only thread that ever leaves home. Not root, the user namespace must be joined
first, which only a process with a single thread can: see `joining`.
"""

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from kumoi.gateway.joining import Joiner
from kumoi.model.routes import Endpoint

CONNECT_S: Final = 1.0
CLONE_NEWNET: Final = 0x4000_0000
OWN_NETWORK: Final = "/proc/self/ns/net"
"""That of the first thread, which never leaves: a thread that got lost still finds home."""

P = TypeVar("P", bound=asyncio.Protocol)


class Connector:
    """Makes connections for one event loop. OSError says why one cannot be made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "namespaces")
        self._joiner: Joiner | None = None

    async def connect(self, endpoint: Endpoint, factory: Callable[[], P]) -> P:
        """A connection to `endpoint`, within a second."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._connect(endpoint, factory)
        except TimeoutError:
            raise OSError(f"no connection to port {endpoint.port} within {CONNECT_S:g} s") from None

    async def _connect(self, endpoint: Endpoint, factory: Callable[[], P]) -> P:
        made = await self.socket_make(endpoint)
        try:
            await self._loop.sock_connect(made, (endpoint.address, endpoint.port))
            _transport, protocol = await self._loop.create_connection(factory, sock=made)
        except BaseException:
            made.close()
            raise
        return protocol

    async def socket_make(self, endpoint: Endpoint) -> socket.socket:
        """An unconnected TCP socket in the endpoint's network namespace."""
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        if not endpoint.netns:
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        elif endpoint.userns:
            made = await self._loop.run_in_executor(self._thread, self._joined, endpoint, family)
        else:
            made = await self._loop.run_in_executor(
                self._thread, socket_in_namespace, Path(endpoint.netns), family
            )
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _joined(self, endpoint: Endpoint, family: int) -> socket.socket:
        if self._joiner is None or self._joiner.broken:
            if self._joiner is not None:
                self._joiner.close()
            self._joiner = Joiner()
        return self._joiner.socket_make(endpoint, family)

    def close(self) -> None:
        """End the helper and the thread."""
        self._thread.shutdown(wait=True)
        if self._joiner is not None:
            self._joiner.close()


def socket_in_namespace(netns: Path, family: int) -> socket.socket:
    """A TCP socket made inside `netns`. Call it in a thread of its own only; needs CAP_SYS_ADMIN."""
    home = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespace_join(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        finally:
            namespace_join(home, CLONE_NEWNET)
    finally:
        os.close(home)


_libc = ctypes.CDLL(None, use_errno=True)


def namespace_join(file: int, kind: int) -> None:
    """setns(2); OSError if it fails."""
    if _libc.setns(file, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"joining a namespace: {os.strerror(number)}")
