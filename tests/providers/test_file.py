"""The file of providers: what it may say, and that it gives no credential away."""

from pathlib import Path

import pytest

from kumoi.providers.file import providers_read

GOOD = """
[kyoto]
kind = "openstack"
jurisdiction = "JP"
region = "kyoto-1"
host = "keystone.example.jp"
port = 5000
project = "kumoi"
credentials = "kyoto.credentials"

[amazon]
kind = "ec2"
jurisdiction = "US"
region = "us-east-1"
credentials = "kyoto.credentials"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    secret = tmp_path / "kyoto.credentials"
    secret.write_text("user\nhush\n")
    secret.chmod(0o600)
    return tmp_path / "providers.toml"


def test_providers_are_read_with_their_jurisdiction(path: Path) -> None:
    path.write_text(GOOD)
    found = providers_read(path)
    assert {name: one.jurisdiction for name, one in found.items()} == {"kyoto": "JP", "amazon": "US"}
    assert {one.name for one in found.values()} == {"kyoto", "amazon"}
    assert "hush" not in repr([vars(one) for one in found.values()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "ec2"', 'kind = "ec3"'), "ec3"),
        (('jurisdiction = "US"', 'jurisdiction = "usa"'), "jurisdiction"),
        (('region = "us-east-1"', "speed = 9"), "speed"),
        (('project = "kumoi"', ""), "kyoto needs host and project"),
        (("port = 5000", "secure = false"), "in the clear"),
        (("[kyoto]", "[Kyoto City]"), "does not name providers"),
        (("[kyoto]", "[kyoto"), "does not name providers"),
    ],
)
def test_what_is_wrong_is_named(path: Path, change: tuple[str, str], says: str) -> None:
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ValueError, match=says):
        providers_read(path)


def test_a_file_that_is_not_there_or_too_open_is_refused(path: Path) -> None:
    with pytest.raises(OSError, match="providers"):
        providers_read(path)
    path.write_text(GOOD)
    (path.parent / "kyoto.credentials").chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        providers_read(path)
