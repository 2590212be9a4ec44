"""A region in a temporary directory: the real plane over SQLite, with the fake engine under its loops."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from kumoi.app.plane import Plane
from kumoi.core.autoscale.decide import decide, scaler_new
from kumoi.core.autoscale.inputs import (
    Inputs,
    ScaleRules,
    Seen,
    inputs_digest,
    inputs_pack,
    inputs_unpack,
)
from kumoi.core.replica_jobs import replica_job
from kumoi.engines.fake import FAKE_HOST, FakeEngine
from kumoi.loops.runner import Runner
from kumoi.main import wiring
from kumoi.model.ids import IdKind
from kumoi.model.services import RevisionSpec, ScaleSpec, ServiceSpec
from kumoi.model.settings import Settings
from kumoi.providers.fake import FakeProvider
from kumoi.store import schema
from kumoi.store.ids import id_new
from kumoi.store.jobs import JobPlace, job_row
from kumoi.store.services import spec_text
from kumoi.store.writer import Change
from kumoi.web.api.application import Application, application_create
from kumoi.web.settings import WebSettings

WAIT_S = 20
T0_US = 1_700_000_000_000_000


class Api:
    """A client of the application in this process, for tests that are not asynchronous."""

    def __init__(self, runner: asyncio.Runner, application: Application) -> None:
        self.runner = runner
        self.application = application
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://plane")

    def __call__(
        self, token: str | None, method: str, path: str, body: Any = None, **options: Any
    ) -> httpx.Response:
        """One request as the owner of `token`; `body` is sent as JSON."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= options.pop("headers", {})
        if body is not None:
            options["json"] = body
        return self.runner.run(self._client.request(method, path, headers=headers, **options))

    def watch(
        self, token: str, path: str, enough: Callable[[bytes], bool], **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Read a stream that has no end until what came is `enough`, then hang up."""
        asked = {"authorization": f"Bearer {token}"} | headers
        return self.runner.run(asyncio.wait_for(self.stream_read(path, asked, enough), WAIT_S))

    async def stream_read(
        self, path: str, headers: dict[str, str], enough: Callable[[bytes], bool]
    ) -> tuple[int, dict[str, str], bytes]:
        """Drive the application through ASGI: the client of httpx waits for the end of every answer."""
        starts: list[Any] = []
        body = bytearray()
        hung_up = asyncio.Event()
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            event = next(asked, None)
            if event is None:
                await hung_up.wait()
                return {"type": "http.disconnect"}
            return event

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                starts.append(event)
            body.extend(event.get("body", b""))
            if enough(bytes(body)):
                hung_up.set()

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        await self.application(scope, receive, send)
        (start,) = starts
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], answered, bytes(body)

    def close(self) -> None:
        self.runner.run(self._client.aclose())


@dataclass
class Tenant:
    """An organization with a token for each kind of actor, and one project."""

    id: str
    name: str
    project: str
    tokens: dict[str, str] = field(default_factory=dict)
    principals: dict[str, str] = field(default_factory=dict)
    approver: Any = None

    @property
    def admin(self) -> str:
        return self.tokens["admin"]


@dataclass
class World:
    """The region, its operator and two tenants that must not know of each other."""

    api: Api
    plane: Plane
    loops: Runner
    engine: FakeEngine
    operator: str
    acme: Tenant
    rival: Tenant
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def name(self, stem: str = "n") -> str:
        """A name that nothing has yet."""
        return f"{stem}-{next(self._numbers)}"

    def wait(self, what: Callable[[], Any]) -> Any:
        """The first true value of `what`, which the loops will bring about."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            self.api.runner.run(asyncio.sleep(0.02))
        raise AssertionError("the loops did not get there")

    def pool_first(self) -> str:
        """The id of a pool that there is."""
        return str(self.api(self.operator, "GET", "/v1/pools").json()["items"][0]["id"])

    def host_lost(self) -> str:
        """A host that nothing was ever heard of again."""
        host_id, name = id_new(IdKind.HOST), self.name("lost")
        row = {
            "id": host_id,
            "pool_id": self.pool_first(),
            "name": name,
            "health": "lost",
            "detail": "no health report",
        }
        size = {"cpu_milli": 1_000, "memory_bytes": 1 << 30, "failure_domain": name, "boot_id": "boot"}
        self.plane.store.commit_wait(Change([(schema.hosts, [row | size | {"seen_us": 1}])]))
        return host_id

    def machine(self, pool: str) -> str:
        """A machine of the pool that was given back."""
        machine_id = id_new(IdKind.MACHINE)
        row = {"id": machine_id, "pool_id": pool, "name": self.name("machine"), "provider": "fake"}
        row |= {"settings": "{}", "state": "released", "host_hour_microyen": 1, "requested_us": T0_US}
        self.plane.store.commit_wait(Change([(schema.machines, [row | {"ended_us": T0_US + 1}])]))
        return machine_id

    def job(self, tenant: Tenant | None = None, **spec: Any) -> str:
        """A job of the tenant's project."""
        tenant = tenant or self.acme
        body = {"command": ["/bin/true"], **spec}
        answer = self.api(tenant.admin, "POST", f"/v1/projects/{tenant.project}/jobs", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def service(self, tenant: Tenant | None = None, **spec: Any) -> Any:
        """A service of the tenant's project, as its creation answers it."""
        tenant = tenant or self.acme
        body = {"name": self.name("svc"), "run": {"port": 8080, "command": ["/bin/serve"]}} | spec
        answer = self.api(tenant.admin, "POST", f"/v1/projects/{tenant.project}/services", body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def scaling(self, service: str) -> str:
        """A decision of the autoscaler about a service, as the services loop records it."""
        state = scaler_new("kumoi")
        inputs = inputs_unpack(inputs_pack(Inputs(ScaleRules(), state, Seen(T0_US, arrivals=9))))
        decision = decide(inputs.rules, inputs.state, inputs.seen)
        reason = {"code": decision.reason, "figures": dict(decision.figures)}
        row = {
            "id": id_new(IdKind.SCALING),
            "service_id": service,
            "at_us": T0_US,
            "wanted": decision.wanted,
            "ready": 0,
            "waiting": 0,
            "demand_milli": 0,
            "reason": msgspec.json.encode(reason).decode(),
            "digest": inputs_digest(inputs),
            "inputs": inputs_pack(inputs),
        }
        self.plane.store.commit_wait(Change([(schema.scalings, [row])]))
        return str(row["id"])

    def replica(self) -> tuple[str, str, str]:
        """A service of acme with one replica that waits for a host that never comes: their ids, its job."""
        sites = self.api(self.operator, "GET", "/v1/sites").json()["items"]
        pool = {"name": self.name("empty"), "site": sites[0]["id"]}
        pool_id = self.api(self.operator, "POST", "/v1/pools", pool).json()["id"]
        # Wanted and young: else the loops would give it up while the test asks.
        scale = ScaleSpec(min_replicas=1)
        spec = ServiceSpec(RevisionSpec(8_080, ("/bin/serve",)), self.name("svc"), scale=scale)
        service, job, replica = (id_new(kind) for kind in (IdKind.SERVICE, IdKind.JOB, IdKind.REPLICA))
        by = self.acme.principals["admin"]
        owned = {"organization_id": self.acme.id, "project_id": self.acme.project, "pool_id": pool_id}
        made: dict[str, Any] = {"created_us": T0_US, "created_by": by}
        place = JobPlace(self.acme.id, self.acme.project, pool_id, "general", "JP")
        job_made = job_row(
            job, replica_job(spec, spec.run), "pending", place, sealed=None, service_id=service, **made
        )
        row = {"id": service, "name": spec.name, "spec": spec_text(spec), "target": 1}
        revision = {"id": f"{service}.1", "service_id": service, "number": 1, "spec": spec_text(spec.run)}
        revision |= {"organization_id": self.acme.id, "project_id": self.acme.project}
        asked = {"id": replica, "service_id": service, "revision": 1, "job_id": job}
        asked["asked_us"] = self.plane.clock_us()
        self.plane.store.commit_wait(
            Change(
                [
                    (schema.services, [row | owned | made]),
                    (schema.revisions, [revision | made]),
                    (schema.jobs, [job_made]),
                    (schema.replicas, [asked]),
                ]
            )
        )
        return service, replica, job


ROLES = {
    "member": ("user", "member", False),
    "viewer": ("user", "viewer", False),
    "auditor": ("user", "auditor", False),
    "service": ("service_account", "service_account", False),
    "project-viewer": ("user", "viewer", True),
}


def tenant_create(api: Api, operator: str, name: str) -> Tenant:
    """An organization with every role, and the admin's narrowed and read-only tokens."""
    made = api(operator, "POST", "/v1/organizations", {"name": name}).json()
    organization, admin = made["organization"]["id"], made["admin_token"]
    base = f"/v1/organizations/{organization}"
    project = api(admin, "POST", f"{base}/projects", {"name": "first"}).json()["id"]
    tenant = Tenant(organization, name, project, {"admin": admin}, {"admin": made["admin"]["id"]})
    for role_name, (kind, role, in_project) in ROLES.items():
        principal = api(admin, "POST", f"{base}/principals", {"name": role_name, "kind": kind}).json()["id"]
        binding = {"principal": principal, "role": role} | ({"project": project} if in_project else {})
        assert api(admin, "POST", f"{base}/role-bindings", binding).status_code == 201
        made = api(admin, "POST", "/v1/tokens", {"principal": principal})
        assert made.status_code == 201, made.text
        tenant.principals[role_name] = principal
        tenant.tokens[role_name] = made.json()["secret"]
    other = api(admin, "POST", f"{base}/projects", {"name": "second"}).json()["id"]
    for token_name, limits in (("narrowed", {"project": other}), ("read-only", {"scopes": ["read"]})):
        tenant.tokens[token_name] = api(admin, "POST", "/v1/tokens", limits).json()["secret"]
    return tenant


@contextmanager
def region_open(place: Path) -> Iterator[World]:
    """A region founded in `place`, with its loops running and its first host seen."""
    host = replace(FAKE_HOST, cpu_milli=1_000_000, memory_bytes=4 << 40)
    engine = FakeEngine(lambda: time.time_ns() // 1_000, (host,))
    engine.name = "sandbox"
    abroad = FakeProvider("abroad", "US")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "_engines_build", lambda *_: {"sandbox": engine})
        patch.setattr(wiring, "_providers_build", lambda _: {"fake": FakeProvider(), "abroad": abroad})
        plane, loops = wiring.plane_build(
            Settings(place, log_interval_s=0.1, gateway=False, volume_encryption=False, access_second_age_s=0)
        )
    operator = (place / "admin.token").read_text().strip()
    with asyncio.Runner() as runner:
        application = application_create(
            plane, WebSettings(heartbeat_s=0.05, watchers_max=3, organization_watchers_max=2)
        )
        api = Api(runner, application)
        acme, rival = (tenant_create(api, operator, name) for name in ("acme", "rival"))
        world = World(api, plane, loops, engine, operator, acme, rival)
        loops.start()
        world.wait(lambda: api(operator, "GET", "/v1/hosts").json()["items"])
        yield world
        application.stop()
        loops.stop()
        api.close()
    plane.store.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The region that tests share; what one of them changes for others it makes for itself."""
    with region_open(tmp_path_factory.mktemp("region")) as opened:
        yield opened


@pytest.fixture(scope="session")
def api(world: World) -> Api:
    return world.api


@pytest.fixture(scope="module")
def own_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A region for one module that leaves nothing as it was."""
    with region_open(tmp_path_factory.mktemp("own")) as opened:
        yield opened
