"""What the fake plane answers where its state does not matter, and the replies that carry it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kumoi.model.access import (
    AccessSet,
    Organization,
    Principal,
    PrincipalKind,
    Project,
    Role,
    RoleBinding,
    ScopeKind,
    Token,
    TokenScope,
    Whoami,
)
from kumoi.model.access_requests import AccessKey, AccessKind, AccessRequest, AccessRule, AccessUse
from kumoi.model.capacity import (
    Capacity,
    CapacityClass,
    CapacityCriterion,
    CapacityLeast,
    CapacityMeasure,
    CapacityPlan,
    CapacitySeries,
    CapacitySource,
    CapacityStep,
    DeviceModel,
    Finding,
)
from kumoi.model.ids import IdKind, id_format
from kumoi.model.keys import (
    KeyHolder,
    KeyVersion,
    OnWithdraw,
    OrganizationKey,
    PlatformKey,
    PlatformKeyVersion,
    VolumeState,
)
from kumoi.model.machines import Autoscale, AutoscaleWrite, Machine
from kumoi.model.notices import CHOICES, NoticeChannel, NoticeKind, NoticeSending, NoticeTarget
from kumoi.model.places import (
    Device,
    DeviceHealth,
    Host,
    HostHealth,
    IsolationClass,
    Pool,
    Site,
    SiteFunction,
)
from kumoi.model.plans import PlanRecord, PlanSummary
from kumoi.model.records import Usage
from kumoi.model.scalings import ScalingRecord
from kumoi.model.shares import Budget, FairShare, Quota, QuotaResource, Rate, Reservation
from kumoi.model.witnesses import WitnessedLog, WitnessSeen

TOKEN = "kumoi_" + "A" * 43 + "abcdef"
AT = "2026-01-31T09:00:00.000000Z"


def id_make(kind: IdKind, number: int = 1) -> str:
    return id_format(kind, number.to_bytes(16, "big"))


ORG = id_make(IdKind.ORGANIZATION)
PROJECT = id_make(IdKind.PROJECT)
USER = id_make(IdKind.USER)
HOST = id_make(IdKind.HOST)
MACHINE = id_make(IdKind.MACHINE)
POOL = id_make(IdKind.POOL)
SITE = id_make(IdKind.SITE)
ATTEMPT = id_make(IdKind.ATTEMPT)
PLAN = id_make(IdKind.CAPACITY_PLAN)
DECISION = id_make(IdKind.PLAN)
BINDING = id_make(IdKind.ROLE_BINDING)
TOKEN_ID = id_make(IdKind.TOKEN)

PRINCIPAL = Principal(USER, PrincipalKind.USER, ORG, "admin", "active", AT, 1)
ROLE_BINDING = RoleBinding(BINDING, ORG, USER, Role.MEMBER, ScopeKind.ORGANIZATION, ORG, AT)
TOKEN_ROW = Token(TOKEN_ID, USER, "token", (TokenScope.ALL,), None, "active", AT, AT)
NOTICE_TARGET = NoticeTarget(
    id_make(IdKind.NOTICE_TARGET), ORG, NoticeChannel.WEBHOOK, "https://acme.example/hook", CHOICES, AT
)
NOTICE_SENDING = NoticeSending(
    id_make(IdKind.NOTICE_SENDING),
    id_make(IdKind.NOTICE),
    NOTICE_TARGET.id,
    NoticeKind.TRIAL,
    id_make(IdKind.EVENT),
    "pending",
    0,
    "",
    AT,
    AT,
    None,
)
WEBHOOK_SECRET = "whsec_c2VjcmV0"
WHOAMI = Whoami(USER, PrincipalKind.USER, "admin", ORG, "acme", (ROLE_BINDING,), TOKEN_ROW)
PROJECT_ROW = Project(PROJECT, ORG, "genome", "active", "general", "JP", AT, 1)
SITE_ROW = Site(SITE, "tokyo", "JP", (SiteFunction.COMPUTE,), "", {}, AT)
DECISION_ROW = PlanSummary(DECISION, POOL, "kumoi", AT, "0" * 64)
SCALING_RECORD = ScalingRecord(id_make(IdKind.SCALING), id_make(IdKind.SERVICE), AT, 2, "{}", "0" * 64, b"x")
DECISION_RECORD = PlanRecord(DECISION, POOL, "kumoi", 7, AT, "0" * 64, "{}", ())
QUOTA = Quota(ORG, QuotaResource.CPU_MILLI, 8_000, 500, 3)
KEY = OrganizationKey(
    ORG,
    KeyHolder("hsm", "key", OnWithdraw.END, "held", "", AT),
    (KeyVersion(1, "current", "token/hsm/key", AT, None, 3),),
    VolumeState.FRESH,
)
PLATFORM_KEY = PlatformKey((PlatformKeyVersion(1, True, 2),))
BUDGET = Budget(ORG, "2026-01", 9_000_000, 1_500_000, 250_000, 2)
FAIR_SHARE = FairShare(ORG, 2, 1)
RATE = Rate(POOL, 1_000_000, 250_000, 350_000_000, 1)
RESERVATION = Reservation(id_make(IdKind.RESERVATION), ORG, "launch", POOL, 4, AT, AT, "held", AT, 1)
KEY_TEXT = "A" * 43 + "="
SIGNATURE = "A" * 86 + "=="
ACCESS_REQUEST = AccessRequest(
    id=id_make(IdKind.ACCESS_REQUEST),
    organization=ORG,
    kind=AccessKind.ORDINARY,
    state="requested",
    requested_by=USER,
    resource=ORG,
    sets=(AccessSet.LOGS,),
    reason="to find out why jobs fail",
    duration_s=3_600,
    created_at=AT,
    answer_by=AT,
    approved_at=None,
    expires_at=None,
    decided_by=None,
    decision="",
    rule=None,
    key=None,
    statement="kumoi-access-approval/v1\n",
    signature=None,
    explain_by=None,
    explanation=None,
    incident_at=None,
    version=1,
)
ACCESS_USE = AccessUse(
    id=id_make(IdKind.ACCESS_USE),
    request=ACCESS_REQUEST.id,
    at=AT,
    action="job_log_read",
    resource=ORG,
    call="GET /v1/jobs/x/tasks/0/log",
    phase="whole",
    status=200,
    size_bytes=3,
    sha256="00",
    event=id_make(IdKind.EVENT),
)
ACCESS_KEY = AccessKey(id_make(IdKind.ACCESS_KEY), ORG, "first", KEY_TEXT, "active", AT, 1)
ACCESS_RULE = AccessRule(
    id=id_make(IdKind.ACCESS_RULE),
    organization=ORG,
    name="nights",
    operator="any",
    resource=ORG,
    sets=(AccessSet.LOGS,),
    duration_s=3_600,
    until=AT,
    key=ACCESS_KEY.id,
    statement="kumoi-access-rule/v1\n",
    signature=SIGNATURE,
    state="active",
    created_at=AT,
    version=1,
)
AUTOSCALE = Autoscale(
    pool=POOL,
    settings=AutoscaleWrite("kyoto", "image-1", "m.large", 8_000, 32 << 30, 180, 20),
    machines=3,
    needed=4,
    code="steady",
    figures={},
    digest="00",
    decided_at=AT,
    failures=0,
    retry_at=None,
    detail="",
    version=5,
    reason="as many hosts as are needed",
)
MACHINE_ROW = Machine(MACHINE, "mac-1", POOL, "kyoto", "i-1", "ready", "", HOST, 50_000_000, AT, AT, None, 3)
WITNESSED = WitnessedLog(
    "kumoi.local/fake",
    1,
    603,
    600,
    (
        WitnessSeen("w.example/1", "w.example/1+key", 600, AT, "", None),
        WitnessSeen("w.example/2", "w.example/2+key", 0, None, "it does not answer", AT),
    ),
)
USAGE = Usage(ORG, PROJECT, AT, AT, 3, 1.5, 1.0, 1500, 1 << 30, 0.0)


def organization_row(name: str, number: int = 1) -> Organization:
    return Organization(id_make(IdKind.ORGANIZATION, number), name, "", "active", AT, 1)


def pool_row(state: str) -> Pool:
    return Pool(
        id=POOL,
        name="default",
        site=SITE,
        engine="sandbox",
        isolation=IsolationClass.PROCESS,
        network_allowed=False,
        shared_by_organizations=False,
        data_classes=(),
        defragment=False,
        state=state,
        created_at=AT,
        version=1,
    )


def device_row(number: int, health: DeviceHealth = DeviceHealth.HEALTHY, **more: Any) -> Device:
    made = Device(
        id=id_make(IdKind.DEVICE, number),
        uuid=f"GPU-{number}",
        physical_uuid=f"GPU-{number}",
        kind="gpu",
        model="H200",
        partition=None,
        memory_bytes=141 << 30,
        health=health,
        detail="" if health is DeviceHealth.HEALTHY else "XID 79",
        service_start=AT,
        milli_used=0,
        attempts=(),
    )
    return msgspec.structs.replace(made, **more)


DEVICES = (
    device_row(1, milli_used=1_000, attempts=(ATTEMPT,)),
    device_row(2, milli_used=500, attempts=(ATTEMPT,)),
    device_row(3, DeviceHealth.UNHEALTHY),
    device_row(4, DeviceHealth.GONE),
    device_row(5, partition="1g.18gb", physical_uuid="GPU-4"),
)


def host_row(state: str, dedicated_to: str | None = None) -> Host:
    return Host(
        id=HOST,
        name="local",
        pool=POOL,
        state=state,
        health=HostHealth.UP,
        detail="",
        cpu_milli=2_000,
        memory_bytes=8 << 30,
        disk_bytes=100 << 30,
        cpu_milli_used=500,
        memory_bytes_used=1 << 30,
        disk_bytes_used=0,
        attempts=1,
        failure_domain="local",
        fabric_island="",
        dedicated_to=dedicated_to,
        devices=DEVICES,
        seen_at=AT,
        version=1,
    )


MODEL_ROW = DeviceModel(
    name="H200",
    vendor="NVIDIA",
    kind="gpu",
    fp16_dense_gflops=989_400,
    fp16_sparse_gflops=None,
    memory_bytes=141 * 10**9,
    datasheet="NVIDIA H200 datasheet, https://www.nvidia.com/",
    datasheet_sha256=None,
    attested=False,
    built_in=True,
    version=0,
)
PLAN_ROW = CapacityPlan(PLAN, SITE, "H200", 768, "2025-09-30", None, "hall 2", AT, 1)


def capacity() -> Capacity:
    """768 H200 planned, of which 8 were there for a while; nobody recorded a datasheet."""
    planned = CapacityLeast("2025-09-30", 0, 759_859_200)
    live = CapacityLeast("2026-02-01", 0, 7_915_200)
    none = CapacityMeasure(None, None, 0, Finding.OPEN)
    steps = (
        CapacityStep("2026-01-01", "2026-01-31", None, None),
        CapacityStep("2026-02-01", "2026-02-28", 0, 7_915_200),
    )
    return Capacity(
        since="2026-01-01",
        until="2026-03-31",
        today="2026-02-28",
        count_from="2025-10-01",
        planned=CapacitySeries((CapacityStep("2026-01-01", "2026-03-31", 0, 759_859_200),), planned, 0),
        live=CapacitySeries(steps, live, 31),
        criteria=(
            CapacityCriterion(
                1,
                750_000_000,
                None,
                "2025-09-30",
                CapacityMeasure(planned, planned, 0, Finding.UNCLEAR),
                CapacityMeasure(live, live, 31, Finding.UNMET),
            ),
            CapacityCriterion(2, 7_500_000_000, "2025-10-01", "2028-03-31", none, none),
        ),
        classes=(
            CapacityClass(
                CapacitySource.LIVE, SITE, "gpu", "H200", "2026-02-01", None, 8, 8, 989_400, 7_915_200, False
            ),
        ),
        classes_left_out=0,
    )


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def reply(status: int, value: object) -> Reply:
    """A JSON reply with a field that clients do not know yet."""
    return Reply(status, msgspec.json.encode({**msgspec.to_builtins(value), "added_later": {"x": 1}}))


def page(asked: Asked, items: Sequence[Any]) -> Reply:
    start, limit = int(asked.query.get("cursor", "0")), int(asked.query.get("limit", "100"))
    following = str(start + limit) if start + limit < len(items) else None
    return reply(200, {"items": items[start : start + limit], "next": following})


def problem(status: int, code: str, detail: str, at: str | None = None) -> Reply:
    body = {"type": f"urn:kumoi:error:{code}", "title": "No", "status": status, "detail": detail}
    more = {"instance": "/v1", "at": at, "request_id": "req-1", "added_later": 1}
    return Reply(status, json.dumps({**body, **more}).encode(), "application/problem+json")


def missing(name: str) -> Reply:
    return problem(404, "not_found", f"there is no {name}, or you may not see it; check the name")
