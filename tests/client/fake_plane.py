"""A small plane: the routes that the SDK and the CLI use, with just enough state behind them.

It keeps Idempotency-Keys as the real one does, so tests can count what was really done. Each look at a job
brings it one step further.
"""

import base64
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import msgspec
from fake_access import access_routes
from fake_rows import (
    AT,
    AUTOSCALE,
    BINDING,
    BUDGET,
    DECISION,
    DECISION_RECORD,
    DECISION_ROW,
    FAIR_SHARE,
    HOST,
    KEY,
    MACHINE_ROW,
    MODEL_ROW,
    NOTICE_SENDING,
    NOTICE_TARGET,
    ORG,
    PLAN,
    PLAN_ROW,
    PLATFORM_KEY,
    POOL,
    PRINCIPAL,
    PROJECT,
    PROJECT_ROW,
    QUOTA,
    RATE,
    RESERVATION,
    ROLE_BINDING,
    SCALING_RECORD,
    SITE_ROW,
    TOKEN,
    TOKEN_ID,
    TOKEN_ROW,
    USAGE,
    USER,
    WEBHOOK_SECRET,
    WHOAMI,
    WITNESSED,
    Asked,
    Reply,
    capacity,
    host_row,
    id_make,
    missing,
    organization_row,
    page,
    pool_row,
    problem,
    reply,
)
from fake_services import FakeServices, reader
from msgspec.structs import replace

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import Signer, vkey_format
from kumoi.ledger.receipt import receipt_build, receipt_format
from kumoi.ledger.tiles import Edge, append, bundle_prefix, path_parse, tile_prefix
from kumoi.model.access import OrganizationCreate, OrganizationCreated, TokenCreated
from kumoi.model.capacity import DeviceModel
from kumoi.model.ids import IdKind
from kumoi.model.jobs import (
    Attempt,
    AttemptOutcome,
    HostRefusal,
    Job,
    JobBatch,
    JobRef,
    JobSpec,
    JobSummary,
    JobWhy,
    Task,
    TaskCounts,
)
from kumoi.model.notices import NoticeChannel, NoticeTargetCreate, NoticeTargetCreated
from kumoi.model.records import Event, File, Health, Receipt, Secret
from kumoi.web.api.sentences import job_why_said

Handler = Callable[..., Reply]


@dataclass
class FakeLog:
    """The public log, in the real formats."""

    signer: Signer = field(default_factory=lambda: Signer("kumoi.local/fake", b"\x07" * 32))
    edge: Edge = field(default_factory=Edge.empty)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    bundles: dict[int, bytes] = field(default_factory=dict)
    checkpoint: bytes = b""

    def grow(self, entries: Sequence[bytes]) -> None:
        writes = append(self.edge, entries)
        self.tiles.update(writes.tiles)
        self.bundles.update(writes.bundles)
        self.edge = writes.edge
        self.checkpoint = checkpoint_sign(Checkpoint(self.signer.name, writes.size, writes.root), self.signer)

    def read(self, level: int, n: int, width: int) -> bytes:
        return self.tiles[level, n][: 32 * width]

    def file(self, path: str) -> bytes:
        if path == "checkpoint":
            return self.checkpoint
        address = path_parse(path)
        if isinstance(address.level, str):
            return bundle_prefix(self.bundles[address.n], address.width)
        return tile_prefix(self.tiles[address.level, address.n], address.width)


class FakePlane:
    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        self.asked: list[Asked] = []
        self.lock = threading.RLock()
        self.done: dict[tuple[str, str], Reply] = {}
        self.jobs: dict[str, Job] = {}
        self.services = FakeServices(self.jobs)
        self.polls: dict[str, int] = {}
        self.polls_to_end = 3
        self.outcome = ("succeeded", 0)
        self.logs = {"stdout": b"hello\n", "stderr": b"careful\n"}
        self.files: dict[str, bytes] = {}
        self.secrets: dict[str, Secret] = {}
        self.secret_values: dict[str, bytes] = {}
        self.organizations = [organization_row("acme")]
        self.pool_state, self.host_state = "open", "schedulable"
        self.events: list[Event] = []
        self.proofs: list[tuple[bytes, bytes]] = []
        self.log = FakeLog()
        self.unlogged = 0
        for number in range(3):
            self.event_add("job_create", number)
        self.routes = [(method, re.compile(pattern), handler) for method, pattern, handler in self.table()]

    def event_add(self, action: str, number: int) -> None:
        job, event = id_make(IdKind.JOB, number + 1), id_make(IdKind.EVENT, number + 1)
        made = Event(event, AT, USER, action, job, "done", ORG, PROJECT, {"n": number}, len(self.events))
        body = {k: v for k, v in msgspec.to_builtins(made).items() if k != "log_index"}
        canonical, salt = msgspec.json.encode(body, order="deterministic"), bytes([number + 1]) * 32
        self.log.grow([event_commit(salt, canonical)])
        self.proofs.append((canonical, salt))
        self.events.append(made)

    def answer(self, asked: Asked) -> Reply:
        public = asked.path.startswith(("/log/", "/healthz"))
        if not public and asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "token_invalid", "the token is missing, malformed, expired or revoked")
        for method, pattern, handler in self.routes:
            match = pattern.fullmatch(asked.path)
            if method != asked.method or match is None:
                continue
            key = (asked.path, asked.headers.get("idempotency-key", ""))
            with self.lock:
                if method == "POST" and key in self.done:
                    return replayed(self.done[key])
                made = handler(asked, *map(unquote, match.groups()))
                if method == "POST" and key[1]:
                    self.done[key] = made
                return made
        return missing(asked.path)

    def table(self) -> list[tuple[str, str, Handler]]:
        return [
            *self.access_table(),
            *self.machine_table(),
            *self.work_table(),
            *self.services.table(),
            *self.record_table(),
        ]

    def access_table(self) -> list[tuple[str, str, Handler]]:
        org, project = f"/v1/organizations/(?:{ORG}|acme)", f"/v1/projects/{PROJECT}"
        pool, host = f"/v1/pools/(?:{POOL}|default)", f"/v1/hosts/(?:{HOST}|local)"
        created = TokenCreated(TOKEN_ROW, TOKEN)
        return [
            ("GET", "/v1/whoami", lambda a: reply(200, WHOAMI)),
            ("GET", "/v1/organizations", lambda a: page(a, self.organizations)),
            ("POST", "/v1/organizations", self.organization_create),
            ("GET", org, lambda a: reply(200, self.organizations[0])),
            ("POST", f"{org}/(suspend|resume)", self.organization_move),
            ("GET", f"{org}/principals", lambda a: page(a, [PRINCIPAL])),
            ("POST", f"{org}/principals", lambda a: reply(201, replace(PRINCIPAL, **json.loads(a.body)))),
            ("POST", f"/v1/principals/{USER}/(?:disable|enable)", lambda a: reply(200, PRINCIPAL)),
            ("GET", f"{org}/role-bindings", lambda a: page(a, [ROLE_BINDING])),
            ("POST", f"{org}/role-bindings", lambda a: reply(201, ROLE_BINDING)),
            ("DELETE", f"/v1/role-bindings/{BINDING}", lambda a: Reply(204)),
            ("GET", f"{org}/projects", lambda a: page(a, [PROJECT_ROW])),
            ("POST", f"{org}/projects", lambda a: reply(201, replace(PROJECT_ROW, **json.loads(a.body)))),
            ("GET", project, lambda a: reply(200, PROJECT_ROW)),
            ("POST", f"{project}/(?:archive|restore)", lambda a: reply(200, PROJECT_ROW)),
            ("GET", "/v1/tokens", lambda a: page(a, [TOKEN_ROW])),
            ("POST", "/v1/tokens", lambda a: reply(201, created)),
            ("POST", f"/v1/tokens/{TOKEN_ID}/revoke", lambda a: reply(200, TOKEN_ROW)),
            ("GET", f"{org}/quotas", lambda a: page(a, [QUOTA])),
            ("PUT", f"{org}/quotas/cpu_milli", lambda a: reply(201, replace(QUOTA, **json.loads(a.body)))),
            ("DELETE", f"{org}/quotas/cpu_milli", lambda a: Reply(204)),
            ("GET", f"{org}/key", lambda a: reply(200, KEY)),
            ("PUT", f"{org}/key", lambda a: reply(200, KEY)),
            ("POST", f"{org}/key/withdraw", lambda a: reply(200, KEY)),
            ("POST", f"{org}/key/restore", lambda a: reply(200, KEY)),
            ("POST", f"{org}/key/rotate", lambda a: reply(200, KEY)),
            ("GET", "/v1/platform-key", lambda a: reply(200, PLATFORM_KEY)),
            ("POST", "/v1/platform-key/rotate", lambda a: reply(200, PLATFORM_KEY)),
            ("GET", f"{org}/budget", lambda a: reply(200, BUDGET)),
            ("PUT", f"{org}/budget", lambda a: reply(200, replace(BUDGET, **json.loads(a.body)))),
            ("DELETE", f"{org}/budget", lambda a: Reply(204)),
            ("GET", f"{org}/fair-share", lambda a: reply(200, FAIR_SHARE)),
            ("PUT", f"{org}/fair-share", lambda a: reply(200, replace(FAIR_SHARE, **json.loads(a.body)))),
            ("GET", "/v1/rates", lambda a: page(a, [RATE])),
            ("PUT", f"{pool}/rate", lambda a: reply(200, replace(RATE, **json.loads(a.body)))),
            ("GET", f"{org}/reservations", lambda a: page(a, [RESERVATION])),
            (
                "POST",
                f"{org}/reservations",
                lambda a: reply(201, replace(RESERVATION, **json.loads(a.body) | {"pool": POOL})),
            ),
            ("GET", f"{org}/reservations/{RESERVATION.id}", lambda a: reply(200, RESERVATION)),
            (
                "POST",
                f"{org}/reservations/{RESERVATION.id}/cancel",
                lambda a: reply(200, replace(RESERVATION, state="cancelled")),
            ),
            *access_routes(org),
            ("GET", "/v1/sites", lambda a: page(a, [SITE_ROW])),
            ("POST", "/v1/sites", lambda a: reply(201, replace(SITE_ROW, **json.loads(a.body)))),
            ("GET", "/v1/pools", lambda a: page(a, [pool_row(self.pool_state)])),
            ("POST", "/v1/pools", lambda a: reply(201, replace(pool_row("open"), **json.loads(a.body)))),
            ("POST", f"{pool}/(pause|resume)", self.pool_move),
            ("GET", "/v1/hosts", lambda a: page(a, [host_row(self.host_state)])),
            ("GET", host, lambda a: reply(200, host_row(self.host_state))),
            ("POST", f"{host}/(drain|resume)", self.host_move),
            ("POST", f"{host}/dedicate", self.host_dedicate),
            ("POST", f"{host}/lost", lambda a: reply(200, host_row("quarantined"))),
            ("GET", "/v1/capacity", lambda a: reply(200, capacity())),
            ("GET", "/v1/capacity-plans", lambda a: page(a, [PLAN_ROW])),
            ("POST", "/v1/capacity-plans", lambda a: reply(201, PLAN_ROW)),
            ("DELETE", f"/v1/capacity-plans/{PLAN}", lambda a: Reply(204)),
            ("GET", "/v1/device-models", lambda a: page(a, [MODEL_ROW])),
            ("PUT", "/v1/device-models/([^/]+)", self.device_model_put),
            ("GET", "/v1/plans", lambda a: page(a, [DECISION_ROW])),
            ("GET", f"/v1/plans/{DECISION}", lambda a: reply(200, DECISION_RECORD)),
            ("GET", f"/v1/scalings/{SCALING_RECORD.id}", lambda a: reply(200, SCALING_RECORD)),
        ]

    def machine_table(self) -> list[tuple[str, str, Handler]]:
        autoscale = f"/v1/pools/(?:{POOL}|default)/autoscale"
        return [
            ("GET", autoscale, lambda a: reply(200, AUTOSCALE)),
            ("PUT", autoscale, lambda a: reply(200, replace(AUTOSCALE, settings=json.loads(a.body)))),
            ("DELETE", autoscale, lambda a: Reply(204)),
            ("GET", "/v1/machines", lambda a: page(a, [MACHINE_ROW])),
            ("GET", f"/v1/machines/(?:{MACHINE_ROW.id}|mac-1)", lambda a: reply(200, MACHINE_ROW)),
        ]

    def work_table(self) -> list[tuple[str, str, Handler]]:
        project, job = f"/v1/projects/{PROJECT}", "/v1/jobs/([^/]+)"
        return [
            ("GET", f"{project}/jobs", self.job_list),
            ("POST", f"{project}/jobs", self.job_create),
            ("POST", f"{project}/job-batches", self.job_batch),
            ("GET", job, self.job_read),
            ("POST", f"{job}/cancel", self.job_cancel),
            ("GET", f"{job}/why", self.job_why),
            ("GET", f"{job}/tasks", self.job_tasks),
            ("GET", f"{job}/tasks/([0-9]+)/log", self.job_log),
            ("GET", f"{project}/secrets", lambda a: page(a, list(self.secrets.values()))),
            ("PUT", f"{project}/secrets/([^/]+)", self.secret_put),
            ("DELETE", f"{project}/secrets/([^/]+)", self.secret_delete),
            ("GET", f"{project}/files", self.file_list),
            ("GET", f"{project}/files/(.+)", self.file_get),
            ("PUT", f"{project}/files/(.+)", self.file_put),
            ("DELETE", f"{project}/files/(.+)", self.file_delete),
        ]

    def record_table(self) -> list[tuple[str, str, Handler]]:
        org, event = f"/v1/organizations/(?:{ORG}|acme)", "/v1/events/([^/]+)"
        vkey = vkey_format(self.log.signer.key).encode() + b"\n"
        return [
            ("GET", "/healthz", lambda a: reply(200, Health("ok", "0.1.0", "fake"))),
            ("GET", f"/v1/projects/{PROJECT}/usage", lambda a: reply(200, USAGE)),
            ("GET", f"{org}/usage", lambda a: reply(200, replace(USAGE, project=None))),
            ("GET", "/v1/usage", lambda a: page(a, [USAGE])),
            ("GET", f"{org}/events", lambda a: page(a, self.events[::-1])),
            ("GET", "/v1/events", lambda a: page(a, self.events[::-1])),
            ("GET", f"{org}/notices", lambda a: page(a, [NOTICE_SENDING])),
            ("GET", f"{org}/notice-targets", lambda a: page(a, [NOTICE_TARGET])),
            ("POST", f"{org}/notice-targets", self.notice_target_create),
            ("DELETE", f"/v1/notice-targets/{NOTICE_TARGET.id}", lambda a: Reply(204)),
            ("POST", f"/v1/notice-targets/{NOTICE_TARGET.id}/test", lambda a: reply(202, NOTICE_SENDING)),
            ("GET", event, lambda a, event: reply(200, self.event(event))),
            ("GET", f"{event}/receipt", self.receipt),
            ("GET", "/log/vkey", lambda a: Reply(200, vkey, "text/plain")),
            ("GET", "/log/witnesses", lambda a: reply(200, WITNESSED)),
            ("GET", "/log/(.+)", lambda a, path: Reply(200, self.log.file(path), "text/plain")),
        ]

    def notice_target_create(self, asked: Asked) -> Reply:
        body = msgspec.json.decode(asked.body, type=NoticeTargetCreate)
        made = replace(NOTICE_TARGET, channel=body.channel, address=body.address)
        secret = WEBHOOK_SECRET if body.channel is NoticeChannel.WEBHOOK else None
        return reply(201, NoticeTargetCreated(replace(made, kinds=body.kinds or made.kinds), secret))

    def organization_create(self, asked: Asked) -> Reply:
        body = msgspec.json.decode(asked.body, type=OrganizationCreate)
        made = organization_row(body.name, len(self.organizations) + 1)
        self.organizations.append(made)
        admin = replace(PRINCIPAL, organization=made.id, name=body.admin_name)
        return reply(201, OrganizationCreated(made, admin, TOKEN))

    def organization_move(self, asked: Asked, verb: str) -> Reply:
        state = {"suspend": "suspended", "resume": "active"}[verb]
        if self.organizations[0].state == state:
            return problem(409, "state_conflict", f"the organization is {state} already")
        self.organizations[0] = replace(self.organizations[0], state=state)
        return reply(200, self.organizations[0])

    def pool_move(self, asked: Asked, verb: str) -> Reply:
        self.pool_state = {"pause": "paused", "resume": "open"}[verb]
        return reply(200, pool_row(self.pool_state))

    def host_dedicate(self, asked: Asked) -> Reply:
        organization = json.loads(asked.body)["organization"]
        return reply(200, host_row(self.host_state, None if organization is None else ORG))

    def device_model_put(self, asked: Asked, name: str) -> Reply:
        body = json.loads(asked.body)
        made = DeviceModel(
            name=unquote(name),
            attested=body["datasheet_sha256"] is not None,
            built_in=False,
            version=1,
            **body,
        )
        return reply(201, made)

    def host_move(self, asked: Asked, verb: str) -> Reply:
        self.host_state = {"drain": "draining", "resume": "schedulable"}[verb]
        return reply(200, host_row(self.host_state))

    def job_add(self, spec: JobSpec) -> JobRef:
        job = id_make(IdKind.JOB, len(self.jobs) + 100)
        tasks = TaskCounts(queued=spec.array_size)
        self.jobs[job] = Job(job, ORG, PROJECT, spec.name, "pending", None, spec, tasks, AT, USER, None, 1)
        return JobRef(job, spec.name, "pending")

    def job_create(self, asked: Asked) -> Reply:
        return reply(201, self.job_add(msgspec.json.decode(asked.body, type=JobSpec)))

    def job_batch(self, asked: Asked) -> Reply:
        batch = msgspec.json.decode(asked.body, type=JobBatch)
        return reply(201, {"items": [self.job_add(spec) for spec in batch.jobs]})

    def job_list(self, asked: Asked) -> Reply:
        wanted = asked.query.get("state")
        found = [
            JobSummary(j.id, j.name, j.state, None, j.spec.array_size, 0, AT, USER, j.ended_at)
            for j in reversed(self.jobs.values())
            if wanted in (None, j.state)
        ]
        return page(asked, found)

    def job_step(self, job: str) -> Job:
        found = self.jobs[job]
        self.polls[job] = self.polls.get(job, 0) + 1
        if self.polls[job] >= self.polls_to_end and found.ended_at is None:
            state, size = self.outcome[0], found.spec.array_size
            reason = "a task failed for good" if state == "failed" else None
            found = replace(found, state=state, reason=reason, tasks=TaskCounts(**{state: size}), ended_at=AT)
            self.jobs[job] = found
        return found

    def job_read(self, asked: Asked, job: str) -> Reply:
        if job not in self.jobs:
            return missing(job)
        body = msgspec.to_builtins(self.job_step(job))
        body["spec"]["added_later"] = True
        body["spec"]["resources"]["added_later"] = 7
        return reply(200, body)

    def job_cancel(self, asked: Asked, job: str) -> Reply:
        found = replace(self.jobs[job], state="cancelled", ended_at=AT)
        self.jobs[job] = found
        return reply(200, JobRef(job, found.name, found.state))

    def job_why(self, asked: Asked, job: str) -> Reply:
        refusals = (HostRefusal("no_cpu", 1),)
        return reply(200, job_why_said(reader(asked), JobWhy(job, "queued", "refused", {}, (), refusals, ())))

    def job_tasks(self, asked: Asked, job: str) -> Reply:
        found = self.job_step(job)
        ended = found.ended_at is not None
        code = self.outcome[1] if ended else None
        outcome = AttemptOutcome.EXITED if ended else None
        attempt_state, end = ("ended", AT) if ended else ("running", None)
        attempt_id = id_make(IdKind.ATTEMPT)
        attempt = Attempt(attempt_id, 1, attempt_state, HOST, outcome, code, None, AT, AT, end, 0.5, 1 << 20)
        state = found.state if ended else "active"
        tasks = [
            Task(id_make(IdKind.TASK, index + 1), job, index, state, None, (attempt,))
            for index in range(found.spec.array_size)
        ]
        return page(asked, tasks)

    def job_log(self, asked: Asked, job: str, index: str) -> Reply:
        data, offset = self.logs[asked.query["stream"]], int(asked.query["offset"])
        part = data[offset : offset + 4]
        following = offset + len(part)
        ended = "true" if following == len(data) else "false"
        headers = {"Kumoi-Next-Offset": str(following), "Kumoi-Ended": ended}
        return Reply(200, part, "text/plain", headers)

    def secret_put(self, asked: Asked, name: str) -> Reply:
        held = self.secrets.get(name)
        version = 0 if held is None else held.version
        if asked.headers.get("if-match") not in (None, "*", f'"{version}"'):
            return problem(412, "version_stale", "the secret has changed; read it again", "If-Match")
        self.secret_values[name] = base64.b64decode(json.loads(asked.body)["value"])
        self.secrets[name] = Secret(id_make(IdKind.SECRET), PROJECT, name, 1, AT, AT, version + 1)
        return reply(201 if held is None else 200, self.secrets[name])

    def secret_delete(self, asked: Asked, name: str) -> Reply:
        if name not in self.secrets:
            return missing(name)
        if asked.headers.get("if-match") != f'"{self.secrets[name].version}"':
            return problem(412, "version_stale", "the secret has changed; read it again", "If-Match")
        del self.secrets[name]
        return Reply(204)

    def file_row(self, name: str) -> File:
        return File(name, len(self.files[name]), AT)

    def file_list(self, asked: Asked) -> Reply:
        prefix = asked.query.get("prefix", "")
        return page(asked, [self.file_row(name) for name in sorted(self.files) if name.startswith(prefix)])

    def file_get(self, asked: Asked, name: str) -> Reply:
        if name not in self.files:
            return missing(name)
        return Reply(200, self.files[name], "application/octet-stream")

    def file_put(self, asked: Asked, name: str) -> Reply:
        self.files[name] = asked.body
        return reply(200, self.file_row(name))

    def file_delete(self, asked: Asked, name: str) -> Reply:
        return Reply(204) if self.files.pop(name, None) is not None else missing(name)

    def event(self, event_id: str) -> Event:
        return next(event for event in self.events if event.id == event_id)

    def receipt(self, asked: Asked, event_id: str) -> Reply:
        if self.unlogged:
            self.unlogged -= 1
            return problem(409, "event_not_logged_yet", "the event has no place in the log yet; ask again")
        event = self.event(event_id)
        assert event.log_index is not None
        canonical, salt = (base64.b64encode(raw).decode() for raw in self.proofs[event.log_index])
        proof = receipt_format(receipt_build(self.log, event.log_index, self.log.checkpoint)).decode()
        return reply(200, Receipt(event, canonical, salt, proof, self.log.signer.name))


def replayed(made: Reply) -> Reply:
    """A stored answer, which holds no secret."""
    body = json.loads(made.body)
    secrets = {name: None for name in ("admin_token", "secret") if name in body}
    return Reply(made.status, json.dumps({**body, **secrets}).encode(), made.kind)
