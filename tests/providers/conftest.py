"""The harness that lets one contract suite run over the fake and over every real provider."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from kumoi.providers.base import MachineSpec, MachineTag, Provider, ProviderUnavailable
from kumoi.providers.fake import FakeProvider
from kumoi.providers.libcloud import Access, Ec2, LibcloudProvider

IMAGE, SIZE = "ami-12c6146b", "m5.large"
USER, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY-EXAMPLE"
_incarnations = itertools.count(1)


class Harness(Protocol):
    """A provider under test; its machines are those of one incarnation, so tests do not meet."""

    provider: Provider
    incarnation: str

    def spec(self, machine_id: str = "mac_1", **other: Any) -> MachineSpec:
        """A machine to ask for."""

    def reopen(self) -> Provider:
        """A new provider object over the same machines, the old one being gone."""

    def settle(self) -> None:
        """What is ending has ended."""

    def break_off(self) -> Provider:
        """A provider object that reaches nothing."""


class _Machines:
    """Machines of one incarnation."""

    incarnation: str

    def spec(self, machine_id: str = "mac_1", **other: Any) -> MachineSpec:
        """A machine to ask for."""
        tag = MachineTag("region-1", self.incarnation, machine_id)
        return MachineSpec(tag, machine_id.replace("_", "-"), **({"image": IMAGE, "size": SIZE} | other))


class FakeHarness(_Machines):
    """The fake."""

    def __init__(self) -> None:
        self.provider: Any = FakeProvider()
        self.incarnation = f"incarnation-{next(_incarnations)}"

    def reopen(self) -> Provider:
        return self.provider  # type: ignore[no-any-return]

    def settle(self) -> None:
        self.provider.end()

    def break_off(self) -> Provider:
        broken = FakeProvider()
        broken.fail = ProviderUnavailable("no answer")
        return broken


class Ec2Harness(_Machines):
    """EC2's dialect, spoken with a server on this machine."""

    def __init__(self, port: int) -> None:
        self.access = Access("us-east-1", "127.0.0.1", port, secure=False, user=USER, secret=SECRET)
        self.incarnation = f"incarnation-{next(_incarnations)}"
        self.provider = self.reopen()

    def reopen(self) -> Provider:
        return LibcloudProvider("ec2-test", "JP", Ec2(), self.access)

    def settle(self) -> None:
        """Its server ends machines at once."""

    def break_off(self) -> Provider:
        return LibcloudProvider("ec2-test", "JP", Ec2(), replace(self.access, port=1))


def _slash_mend(inner: Callable[..., Any]) -> Callable[..., Any]:
    """EC2's XML namespace ends with a slash, which Libcloud insists on and this server leaves out."""

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        parts, status, headers = run_wsgi_app(inner, environ)
        body = b"".join(parts).replace(b'/doc/2016-11-15"', b'/doc/2016-11-15/"')
        headers["Content-Length"] = str(len(body))
        start(status, list(headers))
        return [body]

    return app


@pytest.fixture(scope="session")
def ec2_port() -> Iterator[int]:
    """The port of an EC2-compatible server on the loopback interface."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = _slash_mend(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(params=["fake", "ec2"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """Every provider in turn."""
    if request.param == "fake":
        return FakeHarness()
    return Ec2Harness(request.getfixturevalue("ec2_port"))


@pytest.fixture
def ec2(ec2_port: int) -> Ec2Harness:
    """EC2's dialect alone."""
    return Ec2Harness(ec2_port)
