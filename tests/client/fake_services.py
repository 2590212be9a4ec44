"""Services of the fake plane: each look at one brings it one step further."""

import json
from typing import Any

import msgspec
from fake_rows import AT, ORG, PROJECT, USER, Asked, Reply, id_make, missing, problem, reply
from msgspec.structs import replace

from kumoi.core.rollout_conditions import ADVICE, CONDITIONS
from kumoi.model.ids import IdKind
from kumoi.model.services import (
    Condition,
    Replica,
    Revision,
    RolloutUndo,
    ScaleStep,
    Service,
    ServicePin,
    ServiceSpec,
    ServiceSummary,
    ServiceWhy,
)
from kumoi.web.api.sentences import service_answer, why_said
from kumoi.web.text import Reader, Texts

WHY = {"revision": "2", "failures": "3", "why": "it fell", "retry_at": AT}
FAILING = Condition("revision_failing", AT, WHY)
FAILING_TEXT = "; ".join([CONDITIONS["revision_failing"], ADVICE["retry_at"]]).format(**WHY)
TEXTS = Texts()


def replica_make(number: int, job: str, state: str = "ready") -> Replica:
    ready = None if state == "starting" else AT
    return Replica(id_make(IdKind.REPLICA, number), 1, state, None, job, 2, AT, ready, None)


def step_make(number: int) -> ScaleStep:
    at = f"2026-11-23T08:00:{number:02}.000000Z"
    decision = id_make(IdKind.SCALING, number)
    return ScaleStep(at, number + 0.5, number + 1, number, number, "steady", {}, decision)


def reader(asked: Asked) -> Reader:
    """Who asked, whose answers have sentences in the language of the question."""
    return TEXTS.reader(asked.headers.get("accept-language"))


class FakeServices:
    """What there is, and how rollouts end: `done` or `failed`."""

    def __init__(self, jobs: Any) -> None:
        self.rows: dict[str, Service] = {}
        self.outcome = "done"
        self.steps = 3
        self._jobs = jobs

    def table(self) -> list[tuple[str, str, Any]]:
        one = "/v1/services/([^/]+)"
        return [
            ("GET", f"/v1/projects/{PROJECT}/services", self.listed),
            ("POST", f"/v1/projects/{PROJECT}/services", self.create),
            ("GET", one, self.read),
            ("PUT", one, self.put),
            ("DELETE", one, self.delete),
            ("GET", f"{one}/why", self.why),
            ("GET", f"{one}/revisions", self.revisions),
            ("GET", f"{one}/replicas", self.replicas),
            ("POST", f"{one}/replicas/([^/]+)/stop", self.stop),
            ("POST", f"{one}/pin", self.pin),
            ("POST", f"{one}/unpin", self.unpin),
            ("POST", f"{one}/rollout/(pause|resume)", self.pause),
            ("POST", f"{one}/rollout/undo", self.undo),
        ]

    def add(self, spec: ServiceSpec) -> Service:
        service = id_make(IdKind.SERVICE, len(self.rows) + 1)
        made = Service(
            id=service,
            organization=ORG,
            project=PROJECT,
            name=spec.name,
            state="active",
            spec=spec,
            url_path=f"/{PROJECT}/{spec.name}",
            revision=0,
            rollout="rolling",
            wanted=2,
            ready=0,
            starting=2,
            draining=0,
            conditions=(),
            replicas=(),
            created_at=AT,
            created_by=USER,
            version=1,
        )
        self.rows[service] = made
        return made

    def create(self, asked: Asked) -> Reply:
        return reply(201, self.add(msgspec.json.decode(asked.body, type=ServiceSpec)))

    def listed(self, asked: Asked) -> Reply:
        name = asked.query.get("name")
        found = [
            ServiceSummary(s.id, s.name, s.state, s.revision, s.wanted, s.ready, AT, USER)
            for s in self.rows.values()
            if name in (None, s.name)
        ]
        return reply(200, {"items": found, "next": None})

    def read(self, asked: Asked, service: str) -> Reply:
        if service not in self.rows:
            return missing(service)
        now = self.rows[service]
        self.rows[service] = self._next(now)
        return reply(200, msgspec.json.decode(service_answer(reader(asked), now).body, type=Service))

    def put(self, asked: Asked, service: str) -> Reply:
        known = self.rows[service]
        if asked.headers["if-match"] != f'"{known.version}"':
            return problem(412, "version_differs", "read it again")
        spec = msgspec.json.decode(asked.body, type=ServiceSpec)
        rollout = known.rollout if spec.run == known.spec.run else "rolling"
        return self._set(known, spec=spec, rollout=rollout)

    def delete(self, asked: Asked, service: str) -> Reply:
        self._set(self.rows[service], state="deleting")
        return reply(202, self.rows[service])

    def why(self, asked: Asked, service: str) -> Reply:
        steps = tuple(step_make(n) for n in range(min(self.steps, int(asked.query.get("limit", 100)))))
        conditions = self.rows[service].conditions
        return reply(200, why_said(reader(asked), ServiceWhy(service, "active", conditions, steps)))

    def revisions(self, asked: Asked, service: str) -> Reply:
        run = self.rows[service].spec.run
        found = [Revision(2, "rolling", None, run, AT, USER), Revision(1, "serving", None, run, AT, USER)]
        return reply(200, {"items": found, "next": None})

    def replicas(self, asked: Asked, service: str) -> Reply:
        return reply(200, {"items": self._replicas(), "next": None})

    def stop(self, asked: Asked, service: str, replica: str) -> Reply:
        found = next((one for one in self._replicas() if one.id == replica), None)
        return missing(replica) if found is None else reply(200, replace(found, state="draining"))

    def pin(self, asked: Asked, service: str) -> Reply:
        return self._pinned(service, msgspec.json.decode(asked.body, type=ServicePin).replicas)

    def unpin(self, asked: Asked, service: str) -> Reply:
        return self._pinned(service, None)

    def pause(self, asked: Asked, service: str, verb: str) -> Reply:
        return self._set(self.rows[service], rollout="paused" if verb == "pause" else "rolling")

    def undo(self, asked: Asked, service: str) -> Reply:
        revision = msgspec.json.decode(asked.body, type=RolloutUndo).revision
        if revision == 7:
            return missing("revision 7")
        return self._set(self.rows[service], rollout="rolling", revision=revision or 1)

    def _pinned(self, service: str, replicas: int | None) -> Reply:
        known = self.rows[service]
        scale = replace(known.spec.scale, pin=replicas)
        return self._set(known, spec=replace(known.spec, scale=scale))

    def _set(self, known: Service, **change: Any) -> Reply:
        changed = replace(known, version=known.version + 1, **change)
        self.rows[known.id] = changed
        return reply(200, changed)

    def _replicas(self) -> list[Replica]:
        waiting = id_make(IdKind.JOB, 99)
        return [replica_make(2, waiting, "starting"), replica_make(1, next(iter(self._jobs), waiting))]

    def _next(self, now: Service) -> Service:
        if now.state == "deleting":
            return replace(now, state="deleted", ready=0, replicas=())
        if now.rollout == "rolling" and self.outcome == "failed":
            return replace(now, rollout="failed", conditions=(FAILING,))
        if now.rollout == "rolling":
            replicas = tuple(self._replicas())
            return replace(now, rollout="done", revision=1, ready=1, starting=1, replicas=replicas)
        return now


def sent(asked: Any) -> Any:
    """The JSON of the last POST or PUT."""
    return json.loads([one for one in asked if one.method in ("POST", "PUT")][-1].body)
