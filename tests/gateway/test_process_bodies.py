"""Bodies through `kumoi gateway`, with HAProxy and without: slow ones, and those of clients that left."""

import socket
from pathlib import Path

import pytest
from gateway_process import WAIT_S, Backend, Gateway, needs_haproxy, port_free, until
from gateway_world import service_route

both_ways = pytest.mark.parametrize("flags", [["--no-haproxy"], pytest.param([], marks=needs_haproxy)])


@both_ways
def test_a_queued_post_whose_client_left_loses_its_place(place: Path, flags: list[str]) -> None:
    gateway = Gateway(place, *flags, port=port_free())
    gateway.put(1, service_route("svc_a", queue_timeout_ms=60_000))

    def waiting() -> int:
        return gateway.report().services[0].waiting

    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        until(lambda: waiting() == 1, gateway)
    until(lambda: waiting() == 0, gateway)
    assert 'kumoi_gateway_abandoned_total{service="svc_a"} 1' in gateway.ask("GET", "/metrics")[1].decode()
    gateway.stop()


@both_ways
def test_a_slow_body_leaves_the_only_slot_to_others(
    place: Path, backends: list[Backend], flags: list[str]
) -> None:
    backends.append(Backend("one"))
    gateway = Gateway(place, *flags, port=port_free())
    gateway.put(1, service_route("svc_a", concurrency=1, replicas=[backends[0].route]))
    gateway.ready(1)
    if not flags:
        gateway.carried("rep_one")
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as client:
        client.sendall(b"POST /a/slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        for _ in range(3):
            assert gateway.get("/a/x") == (200, b"one /x")
        client.sendall(b"llo")
        assert client.recv(65_536).startswith(b"HTTP/1.1 501"), "as this replica knows GET alone"
    gateway.stop()
