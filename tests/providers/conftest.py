"""The harness that lets one contract suite run over the fake and over every real provider."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import pytest
from fake_nova import Nova
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from kumoi.providers.base import MachineSpec, MachineTag, Provider, ProviderUnavailable
from kumoi.providers.fake import FakeProvider
from kumoi.providers.libcloud import Access, Ec2, LibcloudProvider, OpenStack

IMAGE, SIZE = "ami-12c6146b", "m5.large"
USER, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY-EXAMPLE"
_incarnations = itertools.count(1)


class Harness(Protocol):
    """A provider under test; its machines are those of one incarnation, so tests do not meet."""

    provider: Provider
    incarnation: str
    remembers: bool
    """Whether the provider still knows a machine that was ended."""

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
    remembers = True

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


class OpenStackHarness(_Machines):
    """OpenStack's dialect, spoken with a server on this machine. It forgets what was ended."""

    remembers = False

    def __init__(self, nova: Nova, port: int) -> None:
        self.nova = nova
        self.access = Access("kyoto-1", "127.0.0.1", port, False, USER, SECRET, "kumoi")
        self.incarnation = f"incarnation-{next(_incarnations)}"
        self.provider = self.reopen()

    def reopen(self) -> Provider:
        return LibcloudProvider("openstack-test", "JP", OpenStack(), self.access)

    def settle(self) -> None:
        """Its server ends machines at once."""

    def break_off(self) -> Provider:
        return LibcloudProvider("openstack-test", "JP", OpenStack(), replace(self.access, port=1))


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


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[int]:
    """The port of the loopback interface where the application answers."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="session")
def ec2_port() -> Iterator[int]:
    """The port of an EC2-compatible server."""
    with served(_slash_mend(DomainDispatcherApplication(create_backend_app))) as port:
        yield port


@pytest.fixture
def openstack() -> Iterator[OpenStackHarness]:
    """OpenStack's dialect alone."""
    nova = Nova(USER, SECRET)
    with served(nova) as port:
        yield OpenStackHarness(nova, port)


@pytest.fixture(params=["fake", "ec2", "openstack"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """Every provider in turn."""
    if request.param == "fake":
        return FakeHarness()
    if request.param == "openstack":
        found: OpenStackHarness = request.getfixturevalue("openstack")
        return found
    return Ec2Harness(request.getfixturevalue("ec2_port"))


@pytest.fixture
def ec2(ec2_port: int) -> Ec2Harness:
    """EC2's dialect alone."""
    return Ec2Harness(ec2_port)
