"""Made-up requests after the OpenAPI document: whatever is asked, the answer is documented and no fault."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from access_office import Office
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kumoi.model.time import time_format
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.route import Route
from kumoi.web.api.routes import ROUTES

EXAMPLES = 10  # of each mode
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    allow_header_conformance,
]
BASE = "http://plane"
# A watch does not end by itself; its tests are in test_events.py.
ENDING = [route for route in ROUTES if not route.watch]
LIMITS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def known(own_world: Any) -> dict[str, str]:
    """Parameters of resources that exist, so that requests get past the first question."""
    world = own_world
    api, project = world.api, world.acme.project
    base = f"/v1/organizations/{world.acme.id}"
    job = world.job()
    assert (
        api(world.acme.admin, "PUT", f"/v1/projects/{project}/files/known", content=b"x").status_code == 200
    )
    secret = api(world.acme.admin, "PUT", f"/v1/projects/{project}/secrets/known", {"value": "aHVzaA=="})
    assert secret.status_code == 201
    world.wait(lambda: api(world.acme.admin, "GET", f"/v1/jobs/{job}/tasks/0/log").status_code == 200)
    world.wait(lambda: api(None, "GET", "/log/checkpoint").status_code == 200)
    world.wait(lambda: api(world.operator, "GET", "/v1/plans").json()["items"])
    token = api(world.acme.admin, "POST", "/v1/tokens", {}).json()["token"]["id"]
    site = api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    plan = {"site": site, "model": "H200", "count": 8, "service_start": "2026-04-01"}
    quota = api(world.operator, "PUT", f"{base}/quotas/cpu_milli", {"most": 1 << 40})
    assert quota.status_code in (200, 201), quota.text
    start = datetime.now(UTC) + timedelta(days=100)
    held: dict[str, object] = {
        "name": "known",
        "pool": "default",
        "host_count": 1,
        "start_at": start.isoformat(),
    }
    held["end_at"] = (start + timedelta(hours=1)).isoformat()
    reserved = api(world.operator, "POST", f"{base}/reservations", held)
    assert reserved.status_code == 201, reserved.text
    service, replica, _job = world.replica()
    office = Office(world)
    until = time_format(world.plane.clock_us() + 3_600_000_000)
    rule = office.approver.rule("known", world.job(), ("logs",), until)
    found = {
        "notice_target": office.call(
            world.acme.admin,
            "notice-targets",
            {"channel": "webhook", "address": "https://receiver.invalid/known"},
            status=201,
        )["target"]["id"],
        "access_request": office.ask(world.acme.id)["id"],
        "access_key": office.approver.id,
        "access_rule": office.call(world.acme.admin, "access-rules", rule, status=201)["id"],
        "service": service,
        "replica": replica,
        "scaling": world.scaling(service),
        "organization": world.acme.id,
        "resource": "cpu_milli",
        "reservation": reserved.json()["id"],
        "project": project,
        "principal": world.acme.principals["viewer"],
        "role_binding": api(world.acme.admin, "GET", f"{base}/role-bindings").json()["items"][-1]["id"],
        "token": token,
        "pool": "default",
        "host": "fake-1",
        "machine": world.machine(world.pool_first()),
        "capacity_plan": api(world.operator, "POST", "/v1/capacity-plans", plan).json()["id"],
        "device_model": "H200",
        "plan": api(world.operator, "GET", "/v1/plans").json()["items"][0]["id"],
        "job": job,
        "event": api(world.acme.admin, "GET", f"{base}/events").json()["items"][0]["id"],
        "index": "0",
        "name": "known",
        "path": "known",
        "tile": "0/000.p/1",
    }
    world.loops.stop()
    return found


@pytest.fixture(scope="module")
def schema(own_world: Any) -> Any:
    """The document, without what would make schemathesis leave the token out of some requests."""
    document = own_world.api(None, "GET", "/openapi.json").json()
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return schemathesis.openapi.from_dict(document)


def ask(api: Any, case: Case, token: str) -> httpx.Response:
    """Send the case as it would go over the wire."""
    whole = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
    headers = {name: value for name, value in whole.headers.items() if name.lower() != "content-length"}
    body = whole.body.encode() if isinstance(whole.body, str) else whole.body
    url = str(whole.url).removeprefix(BASE)
    answer: httpx.Response = api(token, str(whole.method), url, headers=headers, content=body)
    return answer


def fallible(route: Route) -> bool:
    """Whether anything in a request of the route can be wrong."""
    return bool(route.parameters or route.body or route.keyed or route.query is not NoQuery)


MODES = [
    pytest.param(route, mode, id=f"{route.template}-{mode.value}")
    for route in ENDING
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE or fallible(route)
]


@pytest.mark.parametrize(("route", "mode"), MODES)
def test_every_answer_is_documented(
    own_world: Any, schema: Any, known: dict[str, str], route: Route, mode: GenerationMode
) -> None:
    operation = schema[route.path][route.method]
    exists = {name: known[name] for name in route.parameters}

    @LIMITS
    @given(case=operation.as_strategy(generation_mode=mode), admin=st.booleans(), existing=st.booleans())
    def check(case: Case, admin: bool, existing: bool) -> None:
        if existing and mode == GenerationMode.POSITIVE:
            case.path_parameters = dict(exists)
        answer = ask(own_world.api, case, own_world.acme.admin if admin else own_world.operator)
        case.validate_response(answer, checks=CHECKS)

    check()
