"""HAProxy and a replica that resets its kept connections instead of answering."""

import contextlib
import http.client
import socket
import struct
import threading
from pathlib import Path

from gateway_process import WAIT_S, Gateway, needs_haproxy, port_free
from gateway_world import service_route

from kumoi.model.routes import Endpoint, ReplicaRoute

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close() a reset."""


@needs_haproxy
def test_what_may_be_repeated_is_asked_again_when_a_kept_connection_is_reset(place: Path) -> None:
    resets: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        answered = 0
        with connection, contextlib.suppress(OSError):
            while request := connection.recv(65_536):
                if answered and b" /health " not in request:
                    resets.append(request)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    return
                answered += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        route = ReplicaRoute("rep_one", 1, Endpoint("127.0.0.1", listener.getsockname()[1]), True)
        gateway = Gateway(place, port=port_free())
        gateway.put(1, service_route("svc_a", replicas=[route]))
        gateway.ready(1)
        gateway.carried("rep_one")
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=WAIT_S)
        for _ in range(10):
            client.request("GET", "/a/x")
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        client.close()
        assert resets
        gateway.stop()
