"""A request into the network of a replica, as a gateway that is root makes it."""

import http.client
import os
import threading
from concurrent.futures import Future

from kumoi.engines.sandbox.launch import LIBC
from kumoi.model.routes import Endpoint

CLONE_NEWNET = 0x40000000
TIMEOUT_S = 5.0


def fetch(endpoint: Endpoint, path: str = "/") -> str:
    """What a GET answers there. OSError if nothing listens, or if the network is gone."""
    done: Future[str] = Future()
    thread = threading.Thread(target=_fetch_into, args=(done, endpoint, path))
    thread.start()
    thread.join()
    return done.result()


def _fetch_into(done: "Future[str]", endpoint: Endpoint, path: str) -> None:
    """In a thread of its own, which has its network to itself and ends in it."""
    try:
        network = os.open(endpoint.netns, os.O_RDONLY)
        try:
            if LIBC.setns(network, CLONE_NEWNET):
                raise PermissionError(f"{endpoint.netns} cannot be joined")
        finally:
            os.close(network)
        done.set_result(_get(endpoint, path))
    except OSError as error:
        done.set_exception(error)


def _get(endpoint: Endpoint, path: str) -> str:
    connection = http.client.HTTPConnection(endpoint.address, endpoint.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
