"""`kumoi gateway` as it runs: with HAProxy and without, killed, restarted, into network namespaces."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from gateway_process import WAIT_S, Backend, Gateway, needs_haproxy, port_free, until
from gateway_world import service_route

from kumoi.gateway.haproxy_process import pid_read, pids_of
from kumoi.model.routes import Endpoint, ReplicaRoute


@pytest.mark.parametrize("flags", [["--no-haproxy"], pytest.param([], marks=needs_haproxy)])
def test_the_kept_table_is_served_by_the_next_gateway_without_a_plane(
    place: Path, backends: list[Backend], flags: list[str]
) -> None:
    backends.append(Backend("one"))
    port = port_free()
    gateway = Gateway(place, *flags, port=port)
    assert gateway.put(7, service_route("svc_a", replicas=[backends[0].route])) == 204
    gateway.ready(1)
    assert gateway.get("/a/x") == (200, b"one /x")
    assert gateway.put(6) == 409
    assert gateway.ask("PUT", "/table", b"{}")[0] == 400
    epoch = gateway.report().epoch
    gateway.process.kill()
    gateway.process.wait(WAIT_S)
    again = Gateway(place, *flags, port=port)
    again.ready(1)
    report = again.report()
    assert (report.table_version, report.epoch != epoch) == (7, True)
    assert again.get("/a/y") == (200, b"one /y")
    again.stop()
    assert pid_read(again.haproxy / "haproxy.pid") is None


@needs_haproxy
def test_haproxy_goes_on_when_the_gateway_is_killed_and_comes_back_when_it_is(
    place: Path, backends: list[Backend]
) -> None:
    backends.append(Backend("one"))
    port = port_free()
    gateway = Gateway(place, port=port)
    gateway.put(1, service_route("svc_a", replicas=[backends[0].route]))
    gateway.ready(1)
    gateway.carried("rep_one")
    pid = pid_read(gateway.haproxy / "haproxy.pid")
    gateway.process.kill()
    gateway.process.wait(WAIT_S)
    for _ in range(20):
        assert gateway.get("/a/x") == (200, b"one /x")
    again = Gateway(place, port=port)
    assert pid_read(again.haproxy / "haproxy.pid") == pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid_read(again.haproxy / "haproxy.pid") not in (None, pid))
    again.carried("rep_one")
    assert again.get("/a/x") == (200, b"one /x")
    again.stop()


@needs_haproxy
def test_haproxy_refuses_or_normalises_what_the_activator_would(place: Path, backends: list[Backend]) -> None:
    heads: list[bytes] = []

    class Keep(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heads.append(self.raw_requestline + bytes(self.headers))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    route = ReplicaRoute("rep_keep", 1, Endpoint("127.0.0.1", server.server_address[1]), True)
    gateway = Gateway(place, port=port_free())
    gateway.put(1, service_route("svc_a", replicas=[route]))
    gateway.ready(1)
    gateway.carried("rep_keep")
    heads.clear()
    host = b"host: a\r\n"
    untrue = b"X-Forwarded-For: 6.6.6.6\r\nx_y: 1\r\nX-Kumoi-Service: svc_b\r\n"
    for sent, status in {
        b"GET /a HTTP/1.1\r\n" + host + untrue: b"200",
        b"GET /a/../b HTTP/1.1\r\n" + host: b"400",
        b"GET /a/%2e%2e/b HTTP/1.1\r\n" + host: b"400",
        b"GET /a HTTP/1.1\r\n": b"400",
        b"GET /a HTTP/1.1\r\nhost: a/b\r\n": b"400",
        b"POST /a HTTP/1.1\r\n" + host + b"content-length: 1\r\ncontent-length: 2\r\n": b"400",
        b"GET /a HTTP/1.1\r\n" + host + b"x y: 1\r\n": b"400",
        b"CONNECT a:80 HTTP/1.1\r\n" + host: b"405",
        b"GET /b HTTP/1.1\r\n" + host: b"404",
    }.items():
        with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client:
            client.sendall(sent + b"\r\n")
            assert client.recv(65_536).split()[1] == status, sent
    (head,) = [head for head in heads if b"x-forwarded-for" in head.lower()]
    assert b"6.6.6.6" not in head
    assert b"x_y" not in head
    assert b"svc_b" not in head
    assert b"traceparent: 00-" in head
    gateway.stop()
    server.shutdown()
    server.server_close()


def _talk(connection: socket.socket) -> None:
    """A replica of one connection: a tunnel for who upgrades, chunks in answer to chunks for the others."""
    with connection, connection.makefile("rb") as reader, contextlib.suppress(OSError, ValueError):
        while head := b"".join(iter(reader.readline, b"\r\n")).lower() if reader.peek(1) else b"":
            if b"upgrade: websocket" in head:
                connection.sendall(
                    b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                )
                while data := connection.recv(100):
                    connection.sendall(data.upper())
                return
            if b"transfer-encoding: chunked" not in head:
                connection.sendall(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
                continue
            connection.sendall(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
            while size := int(reader.readline(), 16):
                part = reader.read(size + 2)[:-2].upper()
                connection.sendall(b"%x\r\n%b\r\n" % (size, part))
            reader.readline()
            connection.sendall(b"0\r\n\r\n")


@needs_haproxy
def test_websockets_and_streams_pass_haproxy_as_they_come(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=_talk, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        route = ReplicaRoute("rep_talk", 1, Endpoint("127.0.0.1", listener.getsockname()[1]), True)
        gateway = Gateway(place, port=port_free())
        gateway.put(1, service_route("svc_a", replicas=[route]))
        gateway.ready(1)
        gateway.carried("rep_talk")
        with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client:
            client.sendall(
                b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert client.recv(1_024).startswith(b"HTTP/1.1 101")
            client.sendall(b"hello")
            assert client.recv(1_024) == b"HELLO"
        with (
            socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client,
            client.makefile("rb") as reader,
        ):
            client.sendall(b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            client.sendall(b"3\r\none\r\n")
            assert b"200" in b"".join(iter(reader.readline, b"\r\n"))
            assert (reader.readline(), reader.readline()) == (b"3\r\n", b"ONE\r\n")
            client.sendall(b"0\r\n\r\n")
            assert reader.readline() == b"0\r\n"
        gateway.stop()


async def _load(port: int, stop: asyncio.Event, statuses: list[object], *, may_end: bool) -> None:
    """One client with one connection that asks until told to stop; what it met in place of a status.

    Where it `may_end`, a kept connection that ends without a byte of an answer is no answer yet: the client
    asks again on a new one, as RFC 9112, 9.3.1, wants. HAProxy ends one so when a replica resets a kept
    connection of its own.
    """
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            statuses.append(repr(error))
            continue
        answered = 0
        with contextlib.suppress(OSError):
            while not stop.is_set():
                writer.write(b"GET /a/x HTTP/1.1\r\nhost: a\r\n\r\n")
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                except (OSError, asyncio.IncompleteReadError) as error:
                    if not (may_end and answered) or getattr(error, "partial", b""):
                        statuses.append(repr(error))
                    break
                answered += 1
                statuses.append(int(head.split()[1]))
                if b"connection: close" in head.lower():
                    break
        writer.close()


def _events_survived(gateway: Gateway, backends: list[Backend], namespaces: list[str]) -> list[object]:
    """Under load: a second replica comes, the first is killed, the last one is killed and another comes."""

    async def story() -> list[object]:
        stop, may_end = asyncio.Event(), gateway.haproxy.exists()
        statuses: list[object] = []
        clients = [
            asyncio.create_task(_load(gateway.port, stop, statuses, may_end=may_end)) for _ in range(4)
        ]

        async def some_more(count: int = 50) -> None:
            goal = len(statuses) + count
            async with asyncio.timeout(WAIT_S):
                while len(statuses) < goal:
                    await asyncio.sleep(0.005)

        async def put(version: int, *live: Backend) -> None:
            route = service_route("svc_a", concurrency=8, replicas=[each.route for each in live])
            await asyncio.to_thread(gateway.put, version, route)

        await some_more()
        backends.append(await asyncio.to_thread(Backend, "two", 0, namespaces[1]))
        await put(2, *backends)
        await asyncio.to_thread(gateway.ready, 2)
        await some_more()
        backends[0].kill()
        await some_more()
        await put(3, backends[1])
        await some_more()
        backends[1].kill()
        backends.append(await asyncio.to_thread(Backend, "three", 0, namespaces[2]))
        await put(4, backends[2])
        await some_more()
        stop.set()
        await asyncio.gather(*clients)
        return statuses

    return asyncio.run(story())


@pytest.mark.parametrize("flags", [["--no-haproxy"], pytest.param([], marks=needs_haproxy)])
def test_no_request_that_may_be_repeated_is_lost_when_replicas_come_and_are_killed(
    place: Path, backends: list[Backend], flags: list[str]
) -> None:
    backends.append(Backend("one"))
    gateway = Gateway(place, *flags, port=port_free())
    gateway.put(1, service_route("svc_a", concurrency=8, replicas=[backends[0].route]))
    gateway.ready(1)
    if not flags:
        gateway.carried("rep_one")
    statuses = _events_survived(gateway, backends, ["", "", ""])
    assert len(statuses) > 200
    assert set(statuses) == {200}
    gateway.stop()


@pytest.mark.parametrize("flags", [["--no-haproxy"], pytest.param([], marks=needs_haproxy)])
def test_replicas_in_network_namespaces_are_reached_and_none_of_their_requests_is_lost(
    place: Path, backends: list[Backend], namespaces: list[str], flags: list[str]
) -> None:
    backends.append(Backend("one", 8_000, namespaces[0]))
    gateway = Gateway(place, *flags, port=port_free())
    gateway.put(1, service_route("svc_a", concurrency=8, replicas=[backends[0].route]))
    gateway.ready(1)
    if not flags:
        gateway.carried("rep_one")
    assert gateway.get("/a/x") == (200, b"one /x")
    statuses = _events_survived(gateway, backends, namespaces)
    assert len(statuses) > 200
    assert set(statuses) == {200}
    gateway.stop()


@pytest.mark.parametrize("flags", [["--no-haproxy"], pytest.param([], marks=needs_haproxy)])
def test_a_waiting_request_is_reported_at_once_and_metrics_say_what_happened(
    place: Path, backends: list[Backend], flags: list[str]
) -> None:
    gateway = Gateway(place, *flags, port=port_free())
    gateway.put(1, service_route("svc_a"))
    gateway.report()
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.get("/a/x")), daemon=True)
    asking.start()
    until(lambda: gateway.report("?wait_ms=1000&table=1").services[0].waiting == 1)
    backends.append(Backend("one"))
    gateway.put(2, service_route("svc_a", replicas=[backends[0].route]))
    asking.join(WAIT_S)
    assert answers == [(200, b"one /x")]
    until(lambda: gateway.report().services[0].completed == 1)
    report = gateway.report().services[0]
    assert (report.arrived, report.lost, report.waiting, report.busy) == (1, 0, 0, 0)
    status, text = gateway.ask("GET", "/metrics")
    lines = text.decode().splitlines()
    assert (status, lines[-1]) == (200, "# EOF")
    assert 'kumoi_gateway_requests_total{service="svc_a"} 1' in lines
    assert 'kumoi_gateway_queue_wait_seconds_bucket{service="svc_a",le="+Inf"} 1' in lines
    gateway.stop()


@needs_haproxy
def test_what_an_earlier_process_still_carries_is_reported_after_a_reload(
    place: Path, backends: list[Backend]
) -> None:
    backends.append(Backend("two"))
    let_go = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=hold, args=(connection,), daemon=True).start()

    def hold(connection: socket.socket) -> None:
        with connection:
            if b"/held" in connection.recv(65_536):
                let_go.wait(WAIT_S)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nheld")

    # Closing a socket wakes nobody who waits in accept().
    threading.Thread(target=serve, daemon=True).start()
    route = ReplicaRoute("rep_one", 1, Endpoint("127.0.0.1", listener.getsockname()[1]), True)
    gateway = Gateway(place, port=port_free())
    gateway.put(1, service_route("svc_a", replicas=[route]))
    gateway.ready(1)
    gateway.carried("rep_one")
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.get("/a/held")), daemon=True)
    asking.start()

    def busy() -> int:
        return gateway.report().services[0].replicas[0].busy

    until(lambda: busy() == 1)
    before = pid_read(gateway.haproxy / "haproxy.pid")
    draining = msgspec.structs.replace(route, serving=False)
    gateway.put(
        2,
        service_route("svc_a", replicas=[draining]),
        service_route("svc_b", path="/b", replicas=[backends[0].route]),
    )
    until(lambda: pid_read(gateway.haproxy / "haproxy.pid") not in (None, before), gateway)
    gateway.carried("rep_two")
    assert busy() == 1
    let_go.set()
    asking.join(WAIT_S)
    assert answers == [(200, b"held")]
    until(lambda: busy() == 0, gateway)
    listener.close()
    gateway.stop()


@needs_haproxy
def test_paths_of_projects_are_nobody_elses_even_below_a_claimed_host(
    place: Path, backends: list[Backend]
) -> None:
    backends.append(Backend("one"))
    gateway = Gateway(place, port=port_free())
    claimed = service_route("svc_a", hosts=("127.0.0.1",), path="/", replicas=[backends[0].route])
    gateway.put(1, claimed)
    gateway.ready(1)
    gateway.carried("rep_one")
    assert gateway.get("/x")[0] == 200
    assert gateway.get("/prj_b/shop/login")[0] == 404
    gateway.stop()


@needs_haproxy
def test_no_haproxy_outlives_its_gateway_not_even_one_that_was_replaced(
    place: Path, backends: list[Backend]
) -> None:
    backends.append(Backend("one"))
    gateway = Gateway(place, port=port_free())
    route = service_route("svc_a", replicas=[backends[0].route])
    gateway.put(1, route)
    gateway.ready(1)
    gateway.carried("rep_one")
    before = pid_read(gateway.haproxy / "haproxy.pid")
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        until(lambda: gateway.report().services[0].busy == 1, gateway)
        gateway.put(2, route, service_route("svc_b", path="/b"))
        until(lambda: pid_read(gateway.haproxy / "haproxy.pid") not in (None, before), gateway)
        gateway.process.kill()
        gateway.process.wait(WAIT_S)
        (gateway.haproxy / "haproxy.pid").unlink()
        assert before is not None
        assert before in pids_of(gateway.haproxy)
        again = Gateway(place, port=port_free())
        client.close()
        again.stop()
    until(lambda: not pids_of(gateway.haproxy))
