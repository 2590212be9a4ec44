"""The part of the table of routes that lets tenants decide about operators."""

from kumoi.model.access import Action
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
from kumoi.model.records import Page
from kumoi.web.api import access_keys, access_requests, access_rules
from kumoi.web.api.parameters import PageQuery
from kumoi.web.api.route import Route

A = Action
_ORGANIZATION = "/v1/organizations/{organization}"
_REQUESTS = f"{_ORGANIZATION}/access-requests"
_REQUEST = f"{_REQUESTS}/{{access_request}}"
_KEYS = f"{_ORGANIZATION}/access-keys"
_RULES = f"{_ORGANIZATION}/access-rules"

ACCESS_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        _REQUESTS,
        access_requests.access_request_list,
        A.ACCESS_REQUEST_LIST,
        Page[AccessRequest],
        query=PageQuery,
    ),
    Route(
        "POST",
        _REQUESTS,
        access_requests.access_request_create,
        A.ACCESS_REQUEST_CREATE,
        AccessRequest,
        201,
        AccessRequestCreate,
        etag=True,
    ),
    Route(
        "GET",
        _REQUEST,
        access_requests.access_request_read,
        A.ACCESS_REQUEST_READ,
        AccessRequest,
        etag=True,
    ),
    Route(
        "GET",
        f"{_REQUEST}/uses",
        access_requests.access_use_list,
        A.ACCESS_USE_LIST,
        Page[AccessUse],
        query=PageQuery,
    ),
    *(
        Route("POST", f"{_REQUEST}/{verb}", handler, action, AccessRequest, 200, body, etag=True)
        for verb, handler, action, body in (
            ("approve", access_requests.access_request_approve, A.ACCESS_REQUEST_APPROVE, AccessApprove),
            ("deny", access_requests.access_request_deny, A.ACCESS_REQUEST_DENY, AccessDeny),
            ("revoke", access_requests.access_request_revoke, A.ACCESS_REQUEST_REVOKE, None),
            ("end", access_requests.access_request_end, A.ACCESS_REQUEST_END, None),
            ("confirm", access_requests.access_request_confirm, A.ACCESS_REQUEST_CONFIRM, None),
            ("explain", access_requests.access_request_explain, A.ACCESS_REQUEST_EXPLAIN, AccessExplain),
        )
    ),
    Route("GET", _KEYS, access_keys.access_key_list, A.ACCESS_KEY_LIST, Page[AccessKey], query=PageQuery),
    Route(
        "POST",
        _KEYS,
        access_keys.access_key_create,
        A.ACCESS_KEY_CREATE,
        AccessKey,
        201,
        AccessKeyCreate,
        etag=True,
    ),
    Route(
        "POST",
        f"{_KEYS}/{{access_key}}/retire",
        access_keys.access_key_retire,
        A.ACCESS_KEY_RETIRE,
        AccessKey,
        etag=True,
    ),
    Route(
        "GET",
        _RULES,
        access_rules.access_rule_list,
        A.ACCESS_RULE_LIST,
        Page[AccessRule],
        query=PageQuery,
    ),
    Route(
        "POST",
        _RULES,
        access_rules.access_rule_create,
        A.ACCESS_RULE_CREATE,
        AccessRule,
        201,
        AccessRuleCreate,
        etag=True,
    ),
    Route(
        "POST",
        f"{_RULES}/{{access_rule}}/revoke",
        access_rules.access_rule_revoke,
        A.ACCESS_RULE_REVOKE,
        AccessRule,
        etag=True,
    ),
)
