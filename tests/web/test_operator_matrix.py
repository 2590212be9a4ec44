"""Every route, as an operator, under every state of access: what is a tenant's is read only where it gave it.

The tenant's things carry canaries: words that stand nowhere else. An answer that holds one is a read,
whatever its status.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from access_office import Office
from approver import Approver

from kumoi.engines.base import Stream
from kumoi.model.access import AccessSet, Action
from kumoi.store import schema
from kumoi.web.api.route import Media, Route
from kumoi.web.api.routes import ROUTES

# Words of a tenant. Each is in what the set names gives away, by hand.
CANARIES = {
    "canary-project": {AccessSet.INSPECT, AccessSet.EVENTS},
    "canary-job": {AccessSet.INSPECT, AccessSet.EVENTS, AccessSet.STOP},
    "canary-argument": {AccessSet.INSPECT},
    "CANARY_VARIABLE": {AccessSet.INSPECT},
    "canary-value": {AccessSet.INSPECT},
    "canary-service": {AccessSet.INSPECT, AccessSet.EVENTS},
    "canary-secret": {AccessSet.INSPECT, AccessSet.EVENTS},
    "canary-path": {AccessSet.INSPECT, AccessSet.EVENTS},
    "canary-content": {AccessSet.FILES},
    "canary-output": {AccessSet.LOGS},
    "canary-hush": set[AccessSet](),
}
# By hand: what each set lets an operator call.
OPENED = {
    AccessSet.INSPECT: {
        Action.PROJECT_LIST,
        Action.PROJECT_READ,
        Action.PROJECT_USAGE_READ,
        Action.ORGANIZATION_USAGE_READ,
        Action.JOB_LIST,
        Action.JOB_READ,
        Action.SERVICE_LIST,
        Action.SERVICE_READ,
        Action.FILE_LIST,
        Action.SECRET_LIST,
    },
    AccessSet.LOGS: {Action.JOB_LOG_READ},
    AccessSet.FILES: {Action.FILE_READ},
    AccessSet.EVENTS: {Action.ORGANIZATION_EVENT_LIST, Action.EVENT_READ},
    AccessSet.STOP: {Action.JOB_CANCEL},
}
# What operators call as they run the platform, and what is everybody's own.
OPERATORS = {
    "organization_list", "organization_create", "organization_read", "organization_suspend",
    "organization_resume", "site_list", "site_create", "pool_list", "pool_create", "pool_pause",
    "pool_resume", "pool_autoscale_read", "pool_autoscale_write", "pool_autoscale_delete", "machine_list",
    "machine_read", "host_list", "host_read", "host_drain", "host_resume", "host_dedicate",
    "host_declare_lost", "capacity_read", "capacity_plan_list", "capacity_plan_create",
    "capacity_plan_delete", "device_model_list", "device_model_write", "plan_list", "plan_read", "quota_list",
    "quota_write", "quota_delete", "fair_share_read", "fair_share_write", "rate_list", "rate_write",
    "budget_read", "budget_write", "budget_delete", "reservation_list", "reservation_read",
    "reservation_create", "reservation_cancel", "platform_usage_read", "platform_event_list", "self_read",
    "token_list", "token_create", "key_read", "platform_key_read", "platform_key_rotate",
    "access_request_list", "access_request_read", "access_request_create",
    "access_request_confirm", "access_request_explain", "access_request_end",
}  # fmt: skip
# Without a body these would change what the other cases need; that they are operators' is shown elsewhere.
SPARED = {Action.ORGANIZATION_SUSPEND, Action.ACCESS_REQUEST_END}


class Estate:
    """What the tenant has, all of it with canaries, and where it is."""

    def __init__(self, office: Office) -> None:
        world, tenant = office.world, office.tenant
        self.office = office
        call = self.call
        self.project = call("POST", f"/v1/organizations/{tenant.id}/projects", {"name": "canary-project"})[
            "id"
        ]
        at = f"/v1/projects/{self.project}"
        call("PUT", f"{at}/secrets/canary-secret", {"value": "Y2FuYXJ5LWh1c2g="})
        path = f"{at}/files/canary-path/report"
        assert world.api(tenant.admin, "PUT", path, content=b"canary-content").status_code == 200
        job = {
            "name": "canary-job",
            "command": ["/bin/sleep", "canary-argument"],
            "environment": {"CANARY": "canary-value", "CANARY_VARIABLE": "1"},
            "secrets": {"hush": "canary-secret"},
        }
        self.job = call("POST", f"{at}/jobs", job)["id"]
        run = {
            "port": 8080,
            "command": ["/bin/serve", "canary-argument"],
            "environment": {"V": "canary-value"},
        }
        self.service = call("POST", f"{at}/services", {"name": "canary-service", "run": run})["id"]
        attempt = world.wait(self.attempt)
        world.engine.log_append(attempt, Stream.STDOUT, b"canary-output\n")
        self.event = call("GET", f"/v1/organizations/{tenant.id}/events")["items"][0]["id"]
        world.wait(lambda: call("GET", f"/v1/events/{self.event}")["log_index"] is not None)
        self.paths = self.paths_find()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.office.world.api(self.office.tenant.admin, method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def attempt(self) -> Any:
        """The attempt of the job, once its engine has it."""
        tasks = self.call("GET", f"/v1/jobs/{self.job}/tasks")["items"]
        started = [attempt["id"] for task in tasks for attempt in task["attempts"] if attempt["started_at"]]
        return started and started[-1]

    def paths_find(self) -> dict[str, str]:
        """A value for each parameter of a path; the platform's own things are there already."""
        world, tenant = self.office.world, self.office.tenant

        def first(path: str, name: str = "id") -> str:
            return str(world.api(world.operator, "GET", path).json()["items"][0][name])

        asked = self.office.ask(tenant.id)
        bindings = self.call("GET", f"/v1/organizations/{tenant.id}/role-bindings")["items"]
        token = self.call("POST", "/v1/tokens", {"name": "walked"})["token"]["id"]
        nothing = {"replica": "rep", "scaling": "scl", "machine": "mac", "capacity_plan": "cap"}
        nothing |= {"reservation": "rsv", "access_rule": "acr", "notice_target": "ntt"}
        return {
            "organization": tenant.id,
            "project": self.project,
            "job": self.job,
            "service": self.service,
            "event": self.event,
            "index": "0",
            "name": "canary-secret",
            "path": "canary-path/report",
            "principal": tenant.principals["admin"],
            "role_binding": bindings[0]["id"],
            "token": token,
            "pool": first("/v1/pools"),
            "host": first("/v1/hosts"),
            "plan": world.wait(lambda: first("/v1/plans")),
            "device_model": first("/v1/device-models", "name"),
            "resource": "tasks",
            "access_request": asked["id"],
            "access_key": self.office.approver.id,
            **{name: f"{prefix}_{NOTHING}" for name, prefix in nothing.items()},
        }

    def get(self, route: Route, token: str) -> tuple[int, str]:
        """Status and all of the answer that the route gives to whoever has `token`."""
        known = self.paths
        url = route.path.format(**{name: known[name] for name in route.parameters})
        api = self.office.world.api
        if route.watch:
            status, _, body = api.watch(
                token, url, lambda body: body.count(b":\n\n") > 3, **{"Last-Event-ID": "0"}
            )
            return status, body.decode()
        options: dict[str, Any] = {"headers": {"If-Match": "*"}} if route.if_match else {}
        if route.body is Media.BYTES:
            options["content"] = b"x"
        body = {} if route.body is not None and not isinstance(route.body, Media) else None
        answer = api(token, route.method, url, body, **options)
        # A refusal names the path that was asked for: the caller's own words tell it nothing.
        return answer.status_code, answer.text.replace(url, "")


@pytest.fixture(scope="module")
def office(own_world: Any) -> Office:
    return Office(own_world)


@pytest.fixture(scope="module")
def estate(office: Office) -> Estate:
    return Estate(office)


NOTHING = "0" * 26
GUARDED = [route for route in ROUTES if route.action is not None and route.action not in SPARED]


def grant_none(estate: Estate) -> None:
    """Nothing was asked."""


def grant_requested(estate: Estate) -> Any:
    return estate.office.ask(estate.office.tenant.id, *AccessSet)


def grant_denied(estate: Estate) -> Any:
    return estate.office.step(grant_requested(estate), "deny", {})


def grant_revoked(estate: Estate) -> Any:
    return estate.office.step(estate.office.approved(estate.office.tenant.id, *AccessSet), "revoke")


def grant_ended(estate: Estate) -> Any:
    approved = estate.office.approved(estate.office.tenant.id, *AccessSet)
    return estate.office.step(approved, "end", by=estate.office.operator)


def grant_expired(estate: Estate) -> Any:
    approved = estate.office.approved(estate.office.tenant.id, *AccessSet)
    table = schema.access_requests
    over = table.update().where(table.c.id == approved["id"]).values(expires_us=1)
    estate.office.world.plane.store.transact_wait(None, lambda connection: connection.execute(over))
    return approved


def grant_of_colleague(estate: Estate) -> Any:
    return estate.office.approved(estate.office.tenant.id, *AccessSet, by=estate.office.colleague)


def grant_of_another_project(estate: Estate) -> Any:
    return estate.office.approved(estate.office.tenant.project, *AccessSet)


def grant_of_another_organization(estate: Estate) -> Any:
    world = estate.office.world
    rival, base = world.rival, f"/v1/organizations/{world.rival.id}"
    approver = Approver(estate.office.approver.origin, rival.id)
    body = {"name": "first", "public_key": approver.public}
    approver.id = world.api(rival.admin, "POST", f"{base}/access-keys", body).json()["id"]
    asking = {"resource": rival.id, "sets": list(AccessSet), "reason": "to look after the rival"}
    asked = world.api(world.operator, "POST", f"{base}/access-requests", asking).json()
    path = f"{base}/access-requests/{asked['id']}/approve"
    assert world.api(rival.admin, "POST", path, approver.approval(asked)).status_code == 200
    return asked


USELESS = [
    grant_none,
    grant_requested,
    grant_denied,
    grant_revoked,
    grant_ended,
    grant_expired,
    grant_of_colleague,
    grant_of_another_project,
    grant_of_another_organization,
]


def leaks(estate: Estate, opened: set[Action], given: set[AccessSet]) -> Iterator[str]:
    """Every route that answers what it should not, with what was in the answer."""
    for route in GUARDED:
        assert route.action is not None
        status, body = estate.get(route, estate.office.operator)
        may = route.action in opened
        # A body is looked at before its sender is judged (tests/web/test_routes.py sends whole ones).
        refused = {403, 404} | ({422} if isinstance(route.body, type) else set())
        if not may and route.action.value not in OPERATORS and status not in refused:
            yield f"{route.template} answered {status}"
        there = not any(estate.paths[name].endswith(NOTHING) for name in route.parameters)
        if may and there and status >= 400:
            yield f"{route.template} should have answered, not {status}"
        for canary, sets in CANARIES.items():
            if canary in body and not sets & given:
                yield f"{route.template} told {canary}"


@pytest.mark.parametrize("grant", USELESS, ids=lambda grant: grant.__name__)
def test_without_a_live_grant_no_route_tells_anything(estate: Estate, grant: Callable[[Estate], Any]) -> None:
    grant(estate)
    assert not list(leaks(estate, set(), set()))


@pytest.mark.parametrize("given", list(AccessSet))
def test_a_set_opens_its_actions_only(estate: Estate, given: AccessSet) -> None:
    approved = estate.office.approved(estate.office.tenant.id, given)
    try:
        assert not list(leaks(estate, OPENED[given], {given}))
    finally:
        estate.office.step(approved, "revoke")
    assert not list(leaks(estate, set(), set()))


def test_the_canaries_are_there_to_be_found(estate: Estate) -> None:
    """The tenant finds every word but the secret's value: else the tests above would find nothing either."""
    found = {
        canary
        for route in GUARDED
        if route.method == "GET"
        for canary in CANARIES
        if canary in estate.get(route, estate.office.tenant.admin)[1]
    }
    assert found == CANARIES.keys() - {"canary-hush"}


def test_the_tables_name_every_action() -> None:
    opened = {action for actions in OPENED.values() for action in actions}
    tenants = {route.action for route in GUARDED if route.action is not None} - opened
    assert not {action.value for action in opened} & OPERATORS
    assert {action.value for action in tenants} & OPERATORS == OPERATORS - {a.value for a in SPARED}
