"""The table of routes is walked: who has no token is asked for one, who has no right gets nowhere.

Every refusal is about a resource that really exists: afterwards somebody who may does the same thing to the
same resource, and it works.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from typing import Any

import msgspec
import pytest
from approver import Approver
from memory_token import NAME, memory_tokens

from kumoi.model.access import Action
from kumoi.model.time import time_format
from kumoi.web.api.route import Media, Route
from kumoi.web.api.routes import ROUTES

# a admin              m member           v viewer             p viewer of this project only
# u auditor            s service account  n admin's token narrowed to another project
# r admin's read token o operator         all of them of the organization whose resource it is, but
# x everybody of another organization     the operator
ACTORS = {
    "a": "admin",
    "m": "member",
    "v": "viewer",
    "p": "project-viewer",
    "u": "auditor",
    "s": "service",
    "n": "narrowed",
    "r": "read-only",
}
EVERYBODY = frozenset("amvpusnrox")
# Who may, by action. Written by hand: nothing here is computed from the policies.
MAY = {
    action: frozenset(who)
    for action, who in {
        Action.SELF_READ: "amvpusnrox",
        Action.ORGANIZATION_LIST: "o",
        Action.ORGANIZATION_CREATE: "o",
        Action.ORGANIZATION_READ: "auro",
        Action.ORGANIZATION_SUSPEND: "o",
        Action.ORGANIZATION_RESUME: "o",
        Action.KEY_READ: "auro",
        Action.KEY_ATTACH: "a",
        Action.KEY_WITHDRAW: "a",
        Action.KEY_RESTORE: "a",
        Action.KEY_ROTATE: "a",
        Action.PLATFORM_KEY_READ: "o",
        Action.PLATFORM_KEY_ROTATE: "o",
        Action.PRINCIPAL_LIST: "aur",
        Action.PRINCIPAL_CREATE: "a",
        Action.PRINCIPAL_DISABLE: "a",
        Action.PRINCIPAL_ENABLE: "a",
        Action.ROLE_BINDING_LIST: "aur",
        Action.ROLE_BINDING_CREATE: "a",
        Action.ROLE_BINDING_DELETE: "a",
        Action.PROJECT_LIST: "amvpusr",
        Action.PROJECT_CREATE: "a",
        Action.PROJECT_READ: "amvpusr",
        Action.PROJECT_ARCHIVE: "a",
        Action.PROJECT_RESTORE: "a",
        Action.TOKEN_LIST: "amvpusrox",
        Action.TOKEN_CREATE: "amvpusox",
        Action.TOKEN_REVOKE: "a",
        Action.SITE_LIST: "amvpusnrox",
        Action.SITE_CREATE: "o",
        Action.POOL_LIST: "amvpusnrox",
        Action.POOL_CREATE: "o",
        Action.POOL_PAUSE: "o",
        Action.POOL_RESUME: "o",
        Action.POOL_AUTOSCALE_READ: "o",
        Action.POOL_AUTOSCALE_WRITE: "o",
        Action.POOL_AUTOSCALE_DELETE: "o",
        Action.MACHINE_LIST: "o",
        Action.MACHINE_READ: "o",
        Action.HOST_LIST: "o",
        Action.HOST_READ: "o",
        Action.HOST_DRAIN: "o",
        Action.HOST_RESUME: "o",
        Action.HOST_DEDICATE: "o",
        Action.HOST_DECLARE_LOST: "o",
        Action.CAPACITY_READ: "o",
        Action.CAPACITY_PLAN_LIST: "o",
        Action.CAPACITY_PLAN_CREATE: "o",
        Action.CAPACITY_PLAN_DELETE: "o",
        Action.DEVICE_MODEL_LIST: "o",
        Action.DEVICE_MODEL_WRITE: "o",
        Action.PLAN_LIST: "o",
        Action.PLAN_READ: "o",
        Action.PLAN_LIST: "o",
        Action.PLAN_READ: "o",
        Action.QUOTA_LIST: "auro",
        Action.QUOTA_WRITE: "o",
        Action.QUOTA_DELETE: "o",
        Action.FAIR_SHARE_READ: "auro",
        Action.FAIR_SHARE_WRITE: "o",
        Action.RATE_LIST: "amvpusrox",
        Action.RATE_WRITE: "o",
        Action.BUDGET_READ: "auro",
        Action.BUDGET_WRITE: "o",
        Action.BUDGET_DELETE: "o",
        Action.RESERVATION_LIST: "amvpusro",
        Action.RESERVATION_READ: "amvpusro",
        Action.RESERVATION_CREATE: "o",
        Action.RESERVATION_CANCEL: "o",
        Action.JOB_LIST: "amvpusr",
        Action.JOB_CREATE: "ams",
        Action.JOB_READ: "amvpusr",
        Action.JOB_CANCEL: "ams",
        Action.JOB_LOG_READ: "amvpsr",
        Action.SERVICE_LIST: "amvpusr",
        Action.SERVICE_CREATE: "ams",
        Action.SERVICE_READ: "amvpusr",
        Action.SERVICE_UPDATE: "ams",
        Action.SERVICE_DELETE: "ams",
        Action.SECRET_LIST: "amvpsr",
        Action.SECRET_WRITE: "am",
        Action.SECRET_DELETE: "am",
        Action.FILE_LIST: "amvpsr",
        Action.FILE_READ: "amvpsr",
        Action.FILE_WRITE: "ams",
        Action.FILE_DELETE: "ams",
        Action.PROJECT_USAGE_READ: "amvpur",
        Action.ORGANIZATION_USAGE_READ: "aur",
        Action.PLATFORM_USAGE_READ: "o",
        Action.NOTICE_LIST: "aur",
        Action.NOTICE_TARGET_LIST: "aur",
        Action.NOTICE_TARGET_CREATE: "a",
        Action.NOTICE_TARGET_DELETE: "a",
        Action.NOTICE_TARGET_TEST: "a",
        Action.ORGANIZATION_EVENT_LIST: "aur",
        Action.PLATFORM_EVENT_LIST: "o",
        Action.EVENT_READ: "aur",
        Action.ACCESS_REQUEST_LIST: "auro",
        Action.ACCESS_REQUEST_READ: "auro",
        Action.ACCESS_REQUEST_CREATE: "o",
        Action.ACCESS_REQUEST_CONFIRM: "o",
        Action.ACCESS_REQUEST_EXPLAIN: "o",
        Action.ACCESS_REQUEST_END: "o",
        Action.ACCESS_REQUEST_APPROVE: "a",
        Action.ACCESS_REQUEST_DENY: "a",
        Action.ACCESS_REQUEST_REVOKE: "a",
        Action.ACCESS_USE_LIST: "aur",
        Action.ACCESS_KEY_LIST: "aur",
        Action.ACCESS_KEY_CREATE: "a",
        Action.ACCESS_KEY_RETIRE: "a",
        Action.ACCESS_RULE_LIST: "aur",
        Action.ACCESS_RULE_CREATE: "a",
        Action.ACCESS_RULE_REVOKE: "a",
    }.items()
}
RESERVED = count()
LIMITED = ("narrowed", "read-only")
POOLS = next(route for route in ROUTES if route.path == "/v1/pools")
GUARDED = [route for route in ROUTES if route.action is not None]
PUBLIC = [route for route in ROUTES if route.action is None]


def named(route: Route) -> str:
    return route.template


def tokens(world: Any, who: str, *, may: bool) -> list[str]:
    """The tokens of one kind of actor. Of strangers who may, those whose token limits nothing."""
    if who == "o":
        return [world.operator]
    if who == "x":
        return [token for name, token in world.rival.tokens.items() if not may or name not in LIMITED]
    return [world.acme.tokens[ACTORS[who]]]


def created(world: Any, token: str, path: str, **body: Any) -> Any:
    answer = world.api(token, "POST", path, body)
    assert answer.status_code == 201, answer.text
    return answer.json()


class Scene:
    """A resource of each kind of parameter, made when a route asks for it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.service_name = "web"
        self.made_replica = ""
        self.request: dict[str, Any] = {}

    def organization(self, route: Route) -> str:
        if route.action in KEYS:
            self.key_held()
        return str(self.world.acme.id)

    def key_held(self) -> None:
        """A token, which holds the organization's key."""
        encryptions = self.world.plane.keys.encryptions
        if encryptions.tokens is None:
            encryptions.tokens = memory_tokens(self.world.plane.data_dir)
            path = f"/v1/organizations/{self.world.acme.id}/key"
            body = {"token": NAME, "object": "key"}
            assert self.world.api(self.world.acme.admin, "PUT", path, body).status_code == 200

    def project(self, route: Route) -> str:
        if route.action not in (Action.PROJECT_ARCHIVE, Action.PROJECT_RESTORE):
            return str(self.world.acme.project)
        path = f"/v1/organizations/{self.world.acme.id}/projects"
        project = created(self.world, self.world.acme.admin, path, name=self.world.name("walk"))["id"]
        return str(project)

    def principal(self, route: Route) -> str:
        path = f"/v1/organizations/{self.world.acme.id}/principals"
        return str(created(self.world, self.world.acme.admin, path, name=self.world.name("walk"))["id"])

    def role_binding(self, route: Route) -> str:
        path = f"/v1/organizations/{self.world.acme.id}/role-bindings"
        binding = {"principal": self.principal(route), "role": "viewer"}
        return str(created(self.world, self.world.acme.admin, path, **binding)["id"])

    def token(self, route: Route) -> str:
        made = created(self.world, self.world.acme.admin, "/v1/tokens", principal=self.principal(route))
        return str(made["token"]["id"])

    def pool(self, route: Route) -> str:
        site = self.world.api(self.world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
        made = created(self.world, self.world.operator, "/v1/pools", name=self.world.name("walk"), site=site)
        if route.action in (Action.POOL_AUTOSCALE_READ, Action.POOL_AUTOSCALE_DELETE):
            path = f"/v1/pools/{made['id']}/autoscale"
            assert self.world.api(self.world.operator, "PUT", path, AUTOSCALE).status_code == 201
        return str(made["id"])

    def machine(self, route: Route) -> str:
        return str(self.world.machine(self.pool(route)))

    def host(self, route: Route) -> str:
        if route.action == Action.HOST_DECLARE_LOST:
            return str(self.world.host_lost())
        hosts = self.world.wait(
            lambda: self.world.api(self.world.operator, "GET", "/v1/hosts").json()["items"]
        )
        return str(hosts[0]["id"])

    def capacity_plan(self, route: Route) -> str:
        return str(
            created(self.world, self.world.operator, "/v1/capacity-plans", **self.capacity_plan_body())["id"]
        )

    def capacity_plan_body(self) -> dict[str, Any]:
        site = self.world.api(self.world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
        return {"site": site, "model": "H200", "count": 8, "service_start": "2026-04-01"}

    def plan(self, route: Route) -> str:
        self.world.job()
        plans = self.world.wait(
            lambda: self.world.api(self.world.operator, "GET", "/v1/plans").json()["items"]
        )
        return str(plans[0]["id"])

    def device_model(self, route: Route) -> str:
        name = str(self.world.name("Model"))
        body = self.options(route)["body"] if route.body else {}
        path = f"/v1/device-models/{name}"
        assert self.world.api(self.world.operator, "PUT", path, body).status_code == 201
        return name

    def job(self, route: Route) -> str:
        job = self.world.job()
        if "tasks" in route.path:
            path = f"/v1/jobs/{job}/tasks/0/log"
            self.world.wait(lambda: self.world.api(self.world.acme.admin, "GET", path).status_code == 200)
        return str(job)

    def service(self, route: Route) -> str:
        if "replica" in route.parameters:
            found, self.made_replica, _job = self.world.replica()
            return str(found)
        made = self.world.service()
        self.service_name = made["name"]
        if route.path.endswith("/undo"):
            body = {"name": made["name"], "run": {"port": 8081, "command": ["/bin/serve"]}}
            path, any_version = f"/v1/services/{made['id']}", {"If-Match": "*"}
            changed = self.world.api(self.world.acme.admin, "PUT", path, body, headers=any_version)
            assert changed.status_code == 200, changed.text
        return str(made["id"])

    def replica(self, route: Route) -> str:
        return str(self.made_replica)

    def scaling(self, route: Route) -> str:
        return str(self.world.scaling(self.world.service()["id"]))

    def resource(self, route: Route) -> str:
        path = f"/v1/organizations/{self.world.acme.id}/quotas/disk_bytes"
        assert self.world.api(self.world.operator, "PUT", path, {"most": 1 << 50}).status_code in (200, 201)
        return "disk_bytes"

    def reservation(self, route: Route) -> str:
        path = f"/v1/organizations/{self.world.acme.id}/reservations"
        return str(created(self.world, self.world.operator, path, **self.reserve())["id"])

    def reserve(self) -> dict[str, Any]:
        """A reservation of an hour of its own, after all work of these tests."""
        self.host(POOLS)
        start = datetime.now(UTC) + timedelta(days=100, hours=next(RESERVED))
        times = {"start_at": start.isoformat(), "end_at": (start + timedelta(minutes=59)).isoformat()}
        return {"name": self.world.name("walk"), "pool": "default", "host_count": 1} | times

    def access_key(self, route: Route) -> str:
        other = Approver(self.approver.origin, self.world.acme.id)
        body = self.approver.addition(self.world.name("key"), other)
        return str(created(self.world, self.world.acme.admin, self.access("keys"), **body)["id"])

    def access_rule(self, route: Route) -> str:
        body = self.rule_body()
        return str(created(self.world, self.world.acme.admin, self.access("rules"), **body)["id"])

    def access_request(self, route: Route) -> str:
        """A request that waits; for what leads on from an approved one, an approved one."""
        glass = route.action in (Action.ACCESS_REQUEST_CONFIRM, Action.ACCESS_REQUEST_EXPLAIN)
        asker = self.second_operator if glass else self.world.operator
        body = REQUEST | {"resource": self.world.job()} | ({"kind": "emergency"} if glass else {})
        made = created(self.world, asker, self.access("requests"), **body)
        at = f"{self.access('requests')}/{made['id']}"
        if route.action == Action.ACCESS_REQUEST_EXPLAIN:
            assert self.world.api(self.world.operator, "POST", f"{at}/confirm").status_code == 200
        if route.action == Action.ACCESS_REQUEST_REVOKE:
            approval = self.approver.approval(made)
            assert self.world.api(self.world.acme.admin, "POST", f"{at}/approve", approval).status_code == 200
        self.request = made
        return str(made["id"])

    def access(self, what: str) -> str:
        return f"/v1/organizations/{self.world.acme.id}/access-{what}"

    def rule_body(self) -> dict[str, Any]:
        until = time_format(self.world.plane.clock_us() + 3_600_000_000)
        return self.approver.rule(self.world.name("rule"), self.world.job(), ("files",), until)

    @cached_property
    def approver(self) -> Approver:
        """Who holds the key of acme: one for all these tests, as only the first key needs no signature."""
        if self.world.acme.approver is None:
            made = Approver(self.world.plane.region.log_origin, self.world.acme.id)
            body = {"name": "first", "public_key": made.public}
            made.id = created(self.world, self.world.acme.admin, self.access("keys"), **body)["id"]
            self.world.acme.approver = made
        found: Approver = self.world.acme.approver
        return found

    @cached_property
    def second_operator(self) -> str:
        path, name = "/v1/organizations/platform", self.world.name("operator")
        made = created(self.world, self.world.operator, f"{path}/principals", name=name)["id"]
        binding = {"principal": made, "role": "platform_operator"}
        created(self.world, self.world.operator, f"{path}/role-bindings", **binding)
        return str(created(self.world, self.world.operator, "/v1/tokens", principal=made)["secret"])

    def key_body(self) -> dict[str, Any]:
        other = Approver(self.approver.origin, self.world.acme.id)
        return self.approver.addition(self.world.name("key"), other)

    def index(self, route: Route) -> str:
        return "0"

    def notice_target(self, route: Route) -> str:
        path = f"/v1/organizations/{self.world.acme.id}/notice-targets"
        return str(created(self.world, self.world.acme.admin, path, **self.webhook())["target"]["id"])

    def webhook(self) -> dict[str, Any]:
        """A target whose name has no address anywhere (RFC 6761)."""
        return {"channel": "webhook", "address": f"https://{self.world.name('walk')}.invalid/"}

    def event(self, route: Route) -> str:
        self.world.job()
        path = f"/v1/organizations/{self.world.acme.id}/events"
        event = self.world.api(self.world.acme.admin, "GET", path).json()["items"][0]["id"]
        path = f"/v1/events/{event}/receipt"
        self.world.wait(lambda: self.world.api(self.world.acme.admin, "GET", path).status_code == 200)
        return str(event)

    def name(self, route: Route) -> str:
        name = self.world.name("walk")
        path = f"/v1/projects/{self.world.acme.project}/secrets/{name}"
        assert self.world.api(self.world.acme.admin, "PUT", path, {"value": "aHVzaA=="}).status_code == 201
        return str(name)

    def path(self, route: Route) -> str:
        name = self.world.name("walk")
        path = f"/v1/projects/{self.world.acme.project}/files/{name}"
        assert self.world.api(self.world.acme.admin, "PUT", path, content=b"x").status_code == 200
        return str(name)

    def tile(self, route: Route) -> str:
        self.world.wait(lambda: self.world.api(None, "GET", "/log/checkpoint").status_code == 200)
        return "0/000.p/1"

    def url(self, route: Route) -> str:
        return route.path.format(**{name: getattr(self, name)(route) for name in route.parameters})

    def options(self, route: Route) -> dict[str, Any]:
        """A body and headers with which the request is whole."""
        options: dict[str, Any] = {"headers": {"If-Match": "*"}} if route.if_match else {}
        if route.body is Media.BYTES:
            return options | {"content": b"content"}
        bodies: dict[str, Callable[[], dict[str, Any]]] = {
            "OrganizationCreate": lambda: {"name": self.world.name("walk")},
            "PrincipalCreate": lambda: {"name": self.world.name("walk")},
            "RoleBindingCreate": lambda: {"principal": self.principal(route), "role": "viewer"},
            "ProjectCreate": lambda: {"name": self.world.name("walk")},
            "TokenCreate": lambda: {"name": "walk"},
            "SiteCreate": lambda: {"name": self.world.name("walk"), "country": "JP"},
            "PoolCreate": lambda: {
                "name": self.world.name("walk"),
                "site": self.world.api(self.world.operator, "GET", "/v1/sites").json()["items"][0]["id"],
            },
            "HostDedicate": lambda: {"organization": None},
            "AutoscaleWrite": lambda: AUTOSCALE,
            "CapacityPlanCreate": self.capacity_plan_body,
            "DeviceModelWrite": lambda: {
                "vendor": "Maker",
                "fp16_dense_gflops": 1_000,
                "fp16_sparse_gflops": 2_000,
                "memory_bytes": 1 << 30,
                "datasheet": "its datasheet",
            },
            "NoticeTargetCreate": self.webhook,
            "KeyAttach": lambda: {"token": NAME, "object": "key"},
            "JobSpec": lambda: {"command": ["/bin/true"]},
            "ServiceSpec": lambda: {
                "name": self.service_name if route.method == "PUT" else self.world.name("walk"),
                "run": {"port": 8080, "command": ["/bin/serve"]},
            },
            "ServicePin": lambda: {"replicas": 0},
            "RolloutUndo": lambda: {},
            "JobBatch": lambda: {"jobs": [{"command": ["/bin/true"]}]},
            "QuotaWrite": lambda: {"most": 1 << 50},
            "FairShareWrite": lambda: {"weight": 1},
            "RateWrite": lambda: {},
            "BudgetWrite": lambda: {"month_microyen": 1 << 50},
            "ReservationCreate": self.reserve,
            "SecretWrite": lambda: {"value": "aHVzaA=="},
            "AccessRequestCreate": lambda: REQUEST | {"resource": self.world.job()},
            "AccessApprove": lambda: self.approver.approval(self.request),
            "AccessDeny": lambda: {},
            "AccessExplain": lambda: {"explanation": "the disk was full and jobs were failing"},
            "AccessKeyCreate": self.key_body,
            "AccessRuleCreate": self.rule_body,
        }
        if route.body is not None:
            options["body"] = bodies[route.body.__name__]()
        return options


REQUEST = {"sets": ["logs"], "reason": "to find out why jobs fail"}
AUTOSCALE = {
    "provider": "fake",
    "image": "image-1",
    "size": "size-1",
    "host_cpu_milli": 8_000,
    "host_memory_bytes": 1 << 30,
    "boot_s": 60,
    "hosts_max": 0,
}
# What brings a resource into the state from which an action leads, and back to where others need it.
BEFORE = {
    Action.ORGANIZATION_RESUME: ("resume", "suspend"),
    Action.PRINCIPAL_ENABLE: ("enable", "disable"),
    Action.PROJECT_RESTORE: ("restore", "archive"),
    Action.POOL_RESUME: ("resume", "pause"),
    Action.HOST_RESUME: ("resume", "drain"),
    Action.KEY_RESTORE: ("restore", "withdraw"),
}
AFTER = {
    Action.ORGANIZATION_SUSPEND: ("suspend", "resume"),
    Action.HOST_DRAIN: ("drain", "resume"),
    Action.KEY_WITHDRAW: ("withdraw", "restore"),
}
KEYS = (Action.KEY_ATTACH, Action.KEY_WITHDRAW, Action.KEY_RESTORE, Action.KEY_ROTATE)


@pytest.fixture
def scene(world: Any) -> Scene:
    return Scene(world)


def answered(world: Any, token: str | None, route: Route, url: str, options: dict[str, Any]) -> int:
    if route.watch and token is not None:
        status, _, _ = world.api.watch(token, url, lambda body: len(body) > 0)
        return int(status)
    return int(world.api(token, route.method, url, **options).status_code)


def test_every_action_has_a_route_and_a_line_in_the_table_above() -> None:
    assert {route.action for route in GUARDED} == set(Action) == MAY.keys()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [route.operation for route in ROUTES]
    assert len(names) == len(set(names))
    assert all(route.handler.__doc__ for route in ROUTES)


def test_every_body_and_query_refuses_unknown_fields() -> None:
    for route in ROUTES:
        for model in (route.body, route.query):
            if model is not None and not isinstance(model, Media):
                assert model.__struct_config__.forbid_unknown_fields, model
                assert issubclass(model, msgspec.Struct)


@pytest.mark.parametrize("route", PUBLIC, ids=named)
def test_public_routes_ask_for_no_token(world: Any, scene: Scene, route: Route) -> None:
    scene.tile(route)
    assert answered(world, None, route, scene.url(route), {}) == route.status


@pytest.mark.parametrize("route", GUARDED, ids=named)
def test_without_a_token_nobody_gets_in(world: Any, scene: Scene, route: Route) -> None:
    url, options = scene.url(route), scene.options(route)
    assert answered(world, None, route, url, options) == 401
    options["headers"] = options.get("headers", {}) | {"Authorization": "Bearer kumoi_" + "A" * 49}
    assert answered(world, None, route, url, options) == 401


@pytest.mark.parametrize("route", GUARDED, ids=named)
def test_without_the_right_nobody_gets_through(world: Any, scene: Scene, route: Route) -> None:
    assert route.action is not None
    url, options = scene.url(route), scene.options(route)
    for who in sorted(EVERYBODY - MAY[route.action]):
        for token in tokens(world, who, may=False):
            assert answered(world, token, route, url, options) in (403, 404), who
    champion = world.acme.admin if "a" in MAY[route.action] else world.operator
    if route.action in BEFORE:
        assert world.api(champion, "POST", url.replace(*BEFORE[route.action])).status_code == 200
    assert answered(world, champion, route, url, options) in route.successes
    if route.action in AFTER:
        assert world.api(champion, "POST", url.replace(*AFTER[route.action])).status_code == 200


@pytest.mark.parametrize("route", [r for r in GUARDED if r.method == "GET"], ids=named)
def test_with_the_right_everybody_gets_through(world: Any, scene: Scene, route: Route) -> None:
    assert route.action is not None
    url, options = scene.url(route), scene.options(route)
    for who in sorted(MAY[route.action]):
        for token in tokens(world, who, may=True):
            assert answered(world, token, route, url, options) == route.status, who
