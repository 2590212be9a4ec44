"""Organizations' keys, and the platform's own."""

from kumoi.client.flows import Flow
from kumoi.client.groups import D, Group, Operation
from kumoi.client.requests import ask, get, path, post, put
from kumoi.model.keys import KeyAttach, OnWithdraw, OrganizationKey, PlatformKey


def key_read(organization: str) -> Flow[OrganizationKey]:
    """The key of an organization: its versions and who holds it."""
    return ask(OrganizationKey, get(path("organizations", organization, "key")))


def key_attach(
    organization: str, token: str, label: str, on_withdraw: OnWithdraw = OnWithdraw.CONTINUE
) -> Flow[OrganizationKey]:
    """Let the key of this label in a token wrap the organization's key, and nothing else any more."""
    body = KeyAttach(token, label, on_withdraw)
    return ask(OrganizationKey, put(path("organizations", organization, "key"), body))


def key_withdraw(organization: str, *, key: str | None = None) -> Flow[OrganizationKey]:
    """Use the organization's key no more, at once."""
    return ask(OrganizationKey, post(path("organizations", organization, "key", "withdraw"), None, key))


def key_restore(organization: str, *, key: str | None = None) -> Flow[OrganizationKey]:
    """Use a withdrawn key again."""
    return ask(OrganizationKey, post(path("organizations", organization, "key", "restore"), None, key))


def key_rotate(organization: str, *, key: str | None = None) -> Flow[OrganizationKey]:
    """Make a new version of the organization's key."""
    return ask(OrganizationKey, post(path("organizations", organization, "key", "rotate"), None, key))


def platform_key_read() -> Flow[PlatformKey]:
    """The versions of the platform's key, for operators."""
    return ask(PlatformKey, get(path("platform-key")))


def platform_key_rotate(*, key: str | None = None) -> Flow[PlatformKey]:
    """Make a new version of the platform's key, for operators."""
    return ask(PlatformKey, post(path("platform-key", "rotate"), None, key))


class Keys(Group[D]):
    """`client.keys`"""

    get = Operation(key_read)
    attach = Operation(key_attach)
    withdraw = Operation(key_withdraw)
    restore = Operation(key_restore)
    rotate = Operation(key_rotate)


class PlatformKeys(Group[D]):
    """`client.platform_key`"""

    get = Operation(platform_key_read)
    rotate = Operation(platform_key_rotate)
