"""The application under its real server, in the process of the plane."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from kumoi.web.api.application import Application, application_create
from kumoi.web.api.server import server_create
from kumoi.web.settings import WebSettings

TIMEOUT_S = 20


@contextlib.asynccontextmanager
async def served(
    world: Any,
) -> AsyncIterator[tuple[int, Application, asyncio.Task[None], Callable[[], None]]]:
    """A server on a free port; told to stop at the end, and then it must."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = WebSettings(heartbeat_s=0.05)
    application = application_create(world.plane, settings)
    server = server_create(application, "127.0.0.1", port, settings)
    serving = asyncio.create_task(server.serve())
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.01)

    def stop() -> None:
        application.stop()
        server.stop()

    try:
        yield port, application, serving, stop
    finally:
        stop()
        await asyncio.wait_for(serving, TIMEOUT_S)


def client(port: int, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
        trust_env=False,
    )


@pytest.fixture
def run(world: Any) -> Callable[[Callable[[], Any]], Any]:
    return lambda work: world.api.runner.run(work())


def test_requests_files_and_refusals_go_over_the_wire(world: Any, run: Any) -> None:
    async def work() -> None:
        async with served(world) as (port, *_), client(port, world.acme.admin) as http:
            path = f"/v1/projects/{world.acme.project}"
            made = await http.post(f"{path}/jobs", json={"command": ["雲"]})
            assert made.status_code == 201
            content = bytes(range(256)) * (5 << 12)
            assert (await http.put(f"{path}/files/wire/雲", content=content)).status_code == 200
            read = await http.get(f"{path}/files/wire/%E9%9B%B2")
            assert read.content == content
            assert read.headers["content-length"] == str(len(content))
            large = await http.post(
                f"{path}/jobs", content=b" " * (2 << 20), headers={"Content-Type": "application/json"}
            )
            assert large.status_code == 413
            assert (await http.get("/healthz")).json()["status"] == "ok"
            assert (await http.delete("/healthz")).headers["allow"] == "GET"

    run(work)


def test_headers_over_their_limit_are_431(world: Any, run: Any) -> None:
    async def work() -> None:
        async with served(world) as (port, *_), client(port, world.acme.admin) as http:
            answer = await http.get("/healthz", headers={"X-Much": "x" * (1 << 20)})
            assert answer.status_code == 431

    run(work)


def test_an_upload_that_breaks_off_changes_nothing(world: Any, run: Any) -> None:
    path = f"/v1/projects/{world.acme.project}/files/broken"

    async def work() -> None:
        async with served(world) as (port, *_), client(port, world.acme.admin) as http:
            await http.put(path, content=b"whole")
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.acme.admin}\r\n"
                "Content-Length: 1000\r\n\r\nhalf"
            )
            writer.write(head.encode())
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.sleep(0.1)
            assert (await http.get(path)).content == b"whole"

    run(work)


def test_what_is_no_http_gets_no_further(world: Any, run: Any) -> None:
    async def work() -> None:
        async with served(world) as (port, *_), client(port, world.acme.admin) as http:
            for junk in (b"\0\xff\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET  HTTP/9\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(junk)
                answer = await asyncio.wait_for(reader.read(100), TIMEOUT_S)
                assert answer == b"" or b" 4" in answer[:12]
                writer.close()
            assert (await http.get("/healthz")).status_code == 200

    run(work)


def test_stopping_ends_watches_and_finishes_requests(world: Any, run: Any) -> None:
    path = f"/v1/organizations/{world.acme.id}/events/watch"

    async def work() -> None:
        async with served(world) as (port, _, serving, stop), client(port, world.acme.admin) as http:
            async with http.stream("GET", path) as watch:
                parts = watch.aiter_bytes()
                assert (await anext(parts)).startswith(b":\n\n")
                stop()
                rest = [part async for part in parts]
            assert all(part.strip(b":\n") == b"" or b"data: " in part for part in rest)
            await asyncio.wait_for(asyncio.shield(serving), TIMEOUT_S)
            with pytest.raises(httpx.ConnectError):
                await http.get("/healthz")

    run(work)


def test_a_watcher_that_hangs_up_frees_its_place(world: Any, run: Any) -> None:
    path = f"/v1/organizations/{world.acme.id}/events/watch"

    async def work() -> None:
        async with served(world) as (port, application, *_), client(port, world.acme.admin) as http:
            async with http.stream("GET", path) as watch:
                await anext(watch.aiter_bytes())
                assert application._watchers == 1
            async with asyncio.timeout(TIMEOUT_S):
                while application._watchers:
                    await asyncio.sleep(0.01)

    run(work)
