"""Whether an address is free, and when a server of this process answers there."""

import asyncio
import socket
import time


def free_check(host: str, port: int) -> None:
    """OSError if somebody listens there already: their answers must not be taken for ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen"
            ) from None


async def reachable_wait(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Wait until the server accepts; raise what ended it if it never does."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        if serving.done():
            serving.result()
            raise OSError(f"cannot listen on {host}:{port}; is the port in use?")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        return
    raise OSError(f"cannot listen on {host}:{port}: nothing answers after 10 s")
