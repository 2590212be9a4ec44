"""What only a real provider can do wrong: doubles, refusals, and answers that tell too much."""

from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kumoi.providers.base import ProviderFull, ProviderRefused, ProviderUnavailable
from kumoi.providers.libcloud import Access, Ec2, LibcloudProvider, OpenStack, credentials_read

Harness = Any


def test_of_two_machines_with_one_tag_the_younger_is_ended(ec2: Harness) -> None:
    dialect = Ec2()
    driver = dialect.open(ec2.access)
    made = [dialect.make(driver, ec2.spec()).id for _ in range(3)]
    assert len(ec2.provider.machine_list("region-1", ec2.incarnation)) == 3
    kept = ec2.provider.machine_ensure(ec2.spec())
    assert kept.ref in made
    seen = ec2.provider.machine_list("region-1", ec2.incarnation)
    assert [one.ref for one in seen] == [kept.ref]


def test_a_release_ends_doubles_too(ec2: Harness) -> None:
    dialect = Ec2()
    driver = dialect.open(ec2.access)
    for _ in range(2):
        dialect.make(driver, ec2.spec())
    ec2.provider.machine_release(ec2.spec().tag)
    assert ec2.provider.machine_list("region-1", ec2.incarnation) == []


def test_the_tag_and_the_token_go_with_the_request(ec2: Harness) -> None:
    ec2.provider.machine_ensure(ec2.spec("mac_7"))
    driver = Ec2().open(ec2.access)
    [node] = [n for n in driver.list_nodes() if n.extra["tags"].get("kumoi-incarnation") == ec2.incarnation]
    assert node.extra["client_token"] == "mac_7"
    assert node.extra["tags"]["kumoi-machine"] == "mac_7"
    assert node.name == "mac-7"


def test_what_a_provider_refuses_is_refused_for_good(ec2: Harness) -> None:
    with pytest.raises(ProviderRefused, match="HTTP 400"):
        ec2.provider.machine_ensure(ec2.spec(network="subnet-none"))
    assert ec2.provider.machine_list("region-1", ec2.incarnation) == []


def test_openstack_ends_the_younger_of_two_and_carries_tag_name_and_network(openstack: Harness) -> None:
    dialect = OpenStack()
    driver = dialect.open(openstack.access)
    made = [dialect.make(driver, openstack.spec(network="net-1")).id for _ in range(2)]
    kept = openstack.provider.machine_ensure(openstack.spec())
    assert kept.ref == min(made)
    assert list(openstack.nova.servers) == [kept.ref]
    asked = openstack.nova.asked[0]
    assert (asked["name"], asked["networks"]) == ("mac-1", [{"uuid": "net-1"}])
    assert asked["metadata"]["kumoi-machine"] == "mac_1"
    assert b"hostname: mac-1" in b64decode(asked["user_data"])


def test_openstack_refuses_and_hides_the_password(openstack: Harness) -> None:
    with pytest.raises(ProviderRefused, match="network none not found"):
        openstack.provider.machine_ensure(openstack.spec(network="none"))
    stranger = LibcloudProvider("os", "JP", OpenStack(), replace(openstack.access, secret="guess-1"))
    with pytest.raises(ProviderUnavailable, match="check the credentials") as raised:
        stranger.machine_list("region-1", "i")
    assert "guess-1" not in str(raised.value)


class Failing(Ec2):
    """A provider that answers with an error of the test's."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def open(self, access: Access) -> Any:
        raise self.error


class HttpError(Exception):
    """An error as Libcloud raises them."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HttpError(400, "InsufficientInstanceCapacity: none left"), ProviderFull),
        (HttpError(429, "slower"), ProviderFull),
        (HttpError(403, "Quota exceeded for cores"), ProviderFull),
        (HttpError(400, "InvalidAMIID.NotFound: no such image"), ProviderRefused),
        (HttpError(401, "who are you"), ProviderUnavailable),
        (HttpError(503, "busy"), ProviderUnavailable),
        (TimeoutError("timed out"), ProviderUnavailable),
        (ConnectionError("http://host/?key=hush"), ProviderUnavailable),
        (HttpError(None, "signed with hush"), ProviderUnavailable),
    ],
)
def test_errors_become_ours_and_tell_no_credential(error: Exception, expected: type[Exception]) -> None:
    access = Access("r", user="AKID", secret="hush")
    provider = LibcloudProvider("there", "JP", Failing(error), access)
    with pytest.raises(expected) as raised:
        provider.machine_list("region-1", "i")
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "hush" not in repr(access)


def test_credentials_are_read_from_a_closed_file_only(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("user\nsecret\n")
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        credentials_read(path)
    path.chmod(0o600)
    assert credentials_read(path) == ("user", "secret")
    path.write_text("user\n")
    with pytest.raises(ValueError, match="two lines"):
        credentials_read(path)
