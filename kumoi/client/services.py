"""Services: create, look, watch, change, roll back, ask why there are so many replicas."""

import math
import time
from dataclasses import dataclass
from typing import Final

from kumoi.client.errors import WaitTimeout
from kumoi.client.flows import Flow, Item, Pause, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, get, pages, path, post, put
from kumoi.client.retries import POLL
from kumoi.model.services import (
    Replica,
    Revision,
    RolloutUndo,
    Service,
    ServicePin,
    ServiceSpec,
    ServiceSummary,
    ServiceWhy,
)

POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ServiceLook:
    """A service at one moment, and why it has as many replicas as it has."""

    service: Service
    why: ServiceWhy


def service_create(project: str, spec: ServiceSpec, *, key: str | None = None) -> Flow[Service]:
    """Create a service. When this returns the plane has stored it."""
    return ask(Service, post(path("projects", project, "services"), spec, key))


def service_list(
    project: str, *, name: str | None = None, limit: int | None = None
) -> Stream[ServiceSummary]:
    """Services of a project that are not deleted, oldest first; the one of a name where it is given."""
    return pages(ServiceSummary, path("projects", project, "services"), limit, name=name)


def service_read(service: str) -> Flow[Service]:
    """One service with its replicas."""
    return ask(Service, get(path("services", service)))


def service_put(service: str, spec: ServiceSpec, version: int) -> Flow[Service]:
    """Replace what a service is, if `version` is still its version."""
    return ask(Service, put(path("services", service), spec, {"If-Match": f'"{version}"'}))


def service_delete(service: str, version: int) -> Flow[Service]:
    """Delete a service, if `version` is still its version. Its replicas finish their requests."""
    return ask(Service, delete(path("services", service), version))


def service_watch(service: str, *, timeout_s: float | None = None) -> Stream[Service]:
    """The service now and after each change, until it is deleted; raises WaitTimeout."""
    limit_s = math.inf if timeout_s is None else timeout_s
    until_s = time.monotonic() + limit_s
    seen: Service | None = None
    while seen is None or seen.state != "deleted":
        found = yield from ask(Service, get(path("services", service)), POLL)
        if found != seen:
            seen = found
            yield Item(found)
            continue
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"a change of {service} (now {found.state})", limit_s)
        yield Pause(min(POLL_S, left_s))


def service_follow(service: str, *, steps: int = 100) -> Stream[ServiceLook]:
    """The service and its last decisions, again and again (twice a second), until it is deleted."""
    while True:
        found = yield from ask(Service, get(path("services", service)), POLL)
        why = yield from ask(ServiceWhy, get(path("services", service, "why"), limit=steps), POLL)
        yield Item(ServiceLook(found, why))
        if found.state == "deleted":
            return
        yield Pause(POLL_S)


def service_why(service: str, *, limit: int | None = None) -> Flow[ServiceWhy]:
    """Why a service has as many replicas as it has: a sentence, and the last decisions."""
    return ask(ServiceWhy, get(path("services", service, "why"), limit=limit))


def revision_list(service: str, *, limit: int | None = None) -> Stream[Revision]:
    """Revisions of a service, newest first."""
    return pages(Revision, path("services", service, "revisions"), limit)


def replica_list(service: str, *, limit: int | None = None) -> Stream[Replica]:
    """Replicas of a service, newest first, ended ones too."""
    return pages(Replica, path("services", service, "replicas"), limit)


def replica_stop(service: str, replica: str, *, key: str | None = None) -> Flow[Replica]:
    """End a replica when its requests are answered. Another may replace it."""
    return ask(Replica, post(path("services", service, "replicas", replica, "stop"), None, key))


def service_pin(service: str, replicas: int, *, key: str | None = None) -> Flow[Service]:
    """Keep a number of replicas, whatever the demand is."""
    return ask(Service, post(path("services", service, "pin"), ServicePin(replicas), key))


def service_unpin(service: str, *, key: str | None = None) -> Flow[Service]:
    """Let the replicas follow the demand again."""
    return ask(Service, post(path("services", service, "unpin"), None, key))


def rollout_pause(service: str, *, key: str | None = None) -> Flow[Service]:
    """Stop replacing replicas by those of a new revision."""
    return ask(Service, post(path("services", service, "rollout", "pause"), None, key))


def rollout_resume(service: str, *, key: str | None = None) -> Flow[Service]:
    """Go on replacing replicas by those of a new revision."""
    return ask(Service, post(path("services", service, "rollout", "resume"), None, key))


def rollout_undo(service: str, *, revision: int | None = None, key: str | None = None) -> Flow[Service]:
    """Go back to an earlier revision, or try one again where none serves."""
    return ask(Service, post(path("services", service, "rollout", "undo"), RolloutUndo(revision), key))


class Services(Group[D]):
    """`client.services`"""

    create = Operation(service_create)
    list = Streaming(service_list)
    get = Operation(service_read)
    put = Operation(service_put)
    delete = Operation(service_delete)
    watch = Streaming(service_watch)
    follow = Streaming(service_follow)
    why = Operation(service_why)
    revisions = Streaming(revision_list)
    replicas = Streaming(replica_list)
    stop = Operation(replica_stop)
    pin = Operation(service_pin)
    unpin = Operation(service_unpin)
    pause = Operation(rollout_pause)
    resume = Operation(rollout_resume)
    undo = Operation(rollout_undo)
