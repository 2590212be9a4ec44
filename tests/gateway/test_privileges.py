"""The public HAProxy of a gateway that runs as root is not root."""

import os
import re
import signal
from pathlib import Path

import pytest
from gateway_process import Backend, Gateway, needs_haproxy, port_free, until
from gateway_world import service_route

from kumoi.gateway.haproxy_process import identity_find, pid_read

pytestmark = [needs_haproxy, pytest.mark.skipif(identity_find() is None, reason="only root drops root")]


def identity_of(pid: int) -> list[str]:
    """Every user and group number of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.findall(r"^(?:Uid|Gid|Groups):[ \t]*(.*)$", status, re.MULTILINE)
    return " ".join(found).split()


def haproxy_of(gateway: Gateway, *, after: int = 0) -> int:
    """The HAProxy that runs, once it is another than `after`. It is nobody, and shut in with its sockets."""
    until(lambda: pid_read(gateway.haproxy / "haproxy.pid") not in (None, after), gateway)
    pid = pid_read(gateway.haproxy / "haproxy.pid")
    identity = identity_find()
    assert pid is not None
    assert identity is not None
    user, group = identity
    # Its pid is written while it starts; it serves nobody before it has dropped root.
    until(lambda: identity_of(pid) == [str(user)] * 4 + [str(group)] * 4, gateway)
    root = Path(f"/proc/{pid}/root")
    assert root.readlink() == gateway.haproxy.with_name("sockets")
    assert {each.suffix for each in root.iterdir()} == {".sock"}
    return pid


def test_it_drops_root_and_still_reaches_relays_reloads_and_comes_back(
    place: Path, backends: list[Backend], namespaces: list[str]
) -> None:
    backends.append(Backend("one", 8_000, namespaces[0]))
    gateway = Gateway(place, port=port_free())
    gateway.put(1, service_route("svc_a", replicas=[backends[0].route]))
    gateway.ready(1)
    gateway.carried("rep_one")
    first = haproxy_of(gateway)
    assert gateway.get("/a/x") == (200, b"one /x")
    assert gateway.get("/b")[0] == 404, "which the activator answers"
    assert gateway.haproxy.stat().st_mode & 0o077 == 0
    sockets = list(gateway.haproxy.with_name("sockets").glob("*"))
    assert len(sockets) == 2
    assert all(socket.stat().st_mode & 0o007 == 0 for socket in sockets)

    gateway.put(
        2,
        service_route("svc_a", replicas=[backends[0].route]),
        service_route("svc_b", path="/b", replicas=[]),
    )
    second = haproxy_of(gateway, after=first)
    gateway.carried("rep_one")
    assert gateway.get("/a/y") == (200, b"one /y")

    os.kill(second, signal.SIGKILL)
    haproxy_of(gateway, after=second)
    gateway.carried("rep_one")
    assert gateway.get("/a/z") == (200, b"one /z")
    gateway.stop()
