"""Sockets inside namespaces that this process is not in."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import uvloop

from kumoi.gateway.connecting import Connector
from kumoi.model.routes import Endpoint

SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 8000))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"inside")
    connection.close()
"""


@pytest.fixture
def inside() -> Iterator[Endpoint]:
    """A server in user and network namespaces of its own, as a plane that is not root makes them."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare and ip are needed")
    process = subprocess.Popen(
        [
            *("unshare", "--user", "--map-root-user", "--net"),
            *("sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, SERVER),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if not process.stdout.readline():
            pytest.skip(f"namespaces cannot be made here: {process.stderr.read().decode().strip()}")
        place = f"/proc/{process.pid}/ns"
        yield Endpoint("127.0.0.1", 8_000, f"{place}/net", f"{place}/user")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


class Heard(asyncio.Protocol):
    """What the other side said until it ended."""

    def __init__(self) -> None:
        self.said = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.said += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


def test_the_helper_reaches_into_a_user_namespace_again_and_again(inside: Endpoint) -> None:
    async def story() -> None:
        connector = Connector(asyncio.get_running_loop())
        try:
            for _ in range(3):
                heard = await connector.connect(inside, Heard)
                async with asyncio.timeout(10):
                    await heard.ended.wait()
                assert heard.said == b"inside"
            with pytest.raises(OSError, match="joining a namespace"):
                await connector.connect(replace_netns(inside, "/proc/self/ns/missing"), Heard)
            heard = await connector.connect(inside, Heard)
            async with asyncio.timeout(10):
                await heard.ended.wait()
            assert heard.said == b"inside"
            with pytest.raises(OSError):
                await connector.connect(Endpoint("127.0.0.1", 8_001, inside.netns, inside.userns), Heard)
        finally:
            connector.close()

    uvloop.run(story())


def replace_netns(endpoint: Endpoint, netns: str) -> Endpoint:
    return Endpoint(endpoint.address, endpoint.port, netns, endpoint.userns)
