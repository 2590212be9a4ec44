"""Operator access: requests, and the tenant's keys and rules that decide about them."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, get, pages, path, post
from kumoi.model.access_requests import (
    AccessApprove,
    AccessDeny,
    AccessExplain,
    AccessKey,
    AccessKeyCreate,
    AccessRequest,
    AccessRequestCreate,
    AccessRule,
    AccessRuleCreate,
    AccessUse,
)


def access_request_list(organization: str, *, limit: int | None = None) -> Stream[AccessRequest]:
    """Requests of operators about an organization, newest first."""
    return pages(AccessRequest, path("organizations", organization, "access-requests"), limit)


def access_request_read(organization: str, request: str) -> Flow[AccessRequest]:
    """One request, with the statement that approves it."""
    return ask(AccessRequest, get(_request(organization, request)))


def access_use_list(organization: str, request: str, *, limit: int | None = None) -> Stream[AccessUse]:
    """What an operator read or did with a request, oldest first."""
    return pages(AccessUse, _request(organization, request, "uses"), limit)


def access_request_create(
    organization: str, body: AccessRequestCreate, *, key: str | None = None
) -> Flow[AccessRequest]:
    """Ask for access, as an operator."""
    return ask(AccessRequest, post(path("organizations", organization, "access-requests"), body, key))


def access_request_approve(
    organization: str, request: str, body: AccessApprove, *, key: str | None = None
) -> Flow[AccessRequest]:
    """Approve with a signature of the organization's key."""
    return ask(AccessRequest, post(_request(organization, request, "approve"), body, key))


def access_request_deny(
    organization: str, request: str, reason: str = "", *, key: str | None = None
) -> Flow[AccessRequest]:
    """Say no."""
    return ask(AccessRequest, post(_request(organization, request, "deny"), AccessDeny(reason), key))


def access_request_revoke(organization: str, request: str, *, key: str | None = None) -> Flow[AccessRequest]:
    """End an operator's access at once."""
    return ask(AccessRequest, post(_request(organization, request, "revoke"), None, key))


def access_request_end(organization: str, request: str, *, key: str | None = None) -> Flow[AccessRequest]:
    """Take a request back or give access back, as an operator."""
    return ask(AccessRequest, post(_request(organization, request, "end"), None, key))


def access_request_confirm(organization: str, request: str, *, key: str | None = None) -> Flow[AccessRequest]:
    """Confirm broken glass, as the second operator."""
    return ask(AccessRequest, post(_request(organization, request, "confirm"), None, key))


def access_request_explain(
    organization: str, request: str, explanation: str, *, key: str | None = None
) -> Flow[AccessRequest]:
    """Explain broken glass to the organization."""
    body = AccessExplain(explanation)
    return ask(AccessRequest, post(_request(organization, request, "explain"), body, key))


def access_key_list(organization: str, *, limit: int | None = None) -> Stream[AccessKey]:
    """The keys that an organization approves with, retired ones too."""
    return pages(AccessKey, path("organizations", organization, "access-keys"), limit)


def access_key_create(organization: str, body: AccessKeyCreate, *, key: str | None = None) -> Flow[AccessKey]:
    """Add a public key."""
    return ask(AccessKey, post(path("organizations", organization, "access-keys"), body, key))


def access_key_retire(organization: str, access_key: str, *, key: str | None = None) -> Flow[AccessKey]:
    """Let a key approve nothing more."""
    at = path("organizations", organization, "access-keys", access_key, "retire")
    return ask(AccessKey, post(at, None, key))


def access_rule_list(organization: str, *, limit: int | None = None) -> Stream[AccessRule]:
    """Rules by which an organization approves in advance, past ones too."""
    return pages(AccessRule, path("organizations", organization, "access-rules"), limit)


def access_rule_create(
    organization: str, body: AccessRuleCreate, *, key: str | None = None
) -> Flow[AccessRule]:
    """Approve in advance what fits a signed rule."""
    return ask(AccessRule, post(path("organizations", organization, "access-rules"), body, key))


def access_rule_revoke(organization: str, rule: str, *, key: str | None = None) -> Flow[AccessRule]:
    """End a rule."""
    at = path("organizations", organization, "access-rules", rule, "revoke")
    return ask(AccessRule, post(at, None, key))


def _request(organization: str, request: str, *verb: str) -> str:
    return path("organizations", organization, "access-requests", request, *verb)


class AccessRequests(Group[D]):
    """`client.access_requests`"""

    list = Streaming(access_request_list)
    get = Operation(access_request_read)
    uses = Streaming(access_use_list)
    create = Operation(access_request_create)
    approve = Operation(access_request_approve)
    deny = Operation(access_request_deny)
    revoke = Operation(access_request_revoke)
    end = Operation(access_request_end)
    confirm = Operation(access_request_confirm)
    explain = Operation(access_request_explain)


class AccessKeys(Group[D]):
    """`client.access_keys`"""

    list = Streaming(access_key_list)
    create = Operation(access_key_create)
    retire = Operation(access_key_retire)


class AccessRules(Group[D]):
    """`client.access_rules`"""

    list = Streaming(access_rule_list)
    create = Operation(access_rule_create)
    revoke = Operation(access_rule_revoke)
