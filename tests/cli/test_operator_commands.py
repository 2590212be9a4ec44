"""Every command, run by an operator on a real region, with and without a live grant of the tenant."""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from approver import Approver
from store_pages import bytes_of
from volume_places import CAN_ENCRYPT, volumes_end
from witnessed_region import ORIGIN, Plane

from kumoi.cli.root import root
from kumoi.client import Kumoi
from kumoi.model.access import AccessSet
from kumoi.model.access_requests import AccessApprove, AccessKeyCreate, AccessRequestCreate
from kumoi.model.jobs import JobSpec
from kumoi.model.services import RevisionSpec, RouteSpec, ScaleSpec, ServiceSpec
from kumoi.store.sqlite import SqliteFile

CANARIES = (
    "canary-project", "canary-job", "canary-argument", "canary-value", "canary-service", "canary-secret",
    "canary-path", "canary-content", "canary-output", "canary-hush",
)  # fmt: skip
# Names stand in the store as they are; everything else is sealed.
NAMES = {b"canary-project", b"canary-job", b"canary-service", b"canary-secret", b"canary-path"}
# What each command is given, by hand; PROJECT and others stand for the tenant's things.
GIVEN: dict[str, str] = {
    "whoami": "", "org list": "", "org show": "ORG", "org member list": "", "org role list": "",
    "org member create": "mole", "org member disable": "ADMIN", "org member enable": "ADMIN",
    "org role grant": "ADMIN viewer", "org role revoke": "ROLE", "project list": "", "project show": "",
    "project create": "mole", "project archive": "PROJECT", "project restore": "PROJECT", "token list": "",
    "token create": "--principal ADMIN", "token revoke": "TOKEN", "secret list": "",
    "secret put": "canary-secret", "secret rm": "canary-secret", "file list": "",
    "file get": "canary-path/report -", "file put": "FILE canary-path/other", "file rm": "canary-path/report",
    "job list": "", "job show": "JOB", "job tasks": "JOB", "job logs": "JOB", "job why": "JOB",
    "job wait": "JOB", "job cancel": "JOB", "job run": "-- /bin/true", "job submit": "-- /bin/true",
    "job batch": "BATCH",
    "service list": "", "service show": "SERVICE", "service logs": "SERVICE", "service why": "SERVICE",
    "service replicas": "SERVICE", "service revisions": "SERVICE", "service pin": "SERVICE 0",
    "service unpin": "SERVICE", "service delete": "SERVICE", "service rollout pause": "SERVICE",
    "service rollout resume": "SERVICE", "service rollout undo": "SERVICE", "service stop": "SERVICE REPLICA",
    "service create": "--name mole --port 80 -- /bin/true", "service update": "SERVICE --port 81",
    "host list": "", "host show": "HOST", "machine list": "", "machine show": "nothing",
    "pool list": "", "pool autoscale show": "default", "plan list": "", "replay": "PLAN", "site list": "",
    "capacity": "", "capacity-plan list": "", "device-model list": "", "quota list": "",
    "fair-share show": "", "budget show": "", "rate list": "", "reservation list": "",
    "reservation show": "NOTHING", "access list": "", "access show": "REQUEST", "access uses": "REQUEST",
    "access approve": "REQUEST --sign-key PEM", "access deny": "REQUEST", "access revoke": "REQUEST",
    "access key list": "", "access key add": "mole PEM", "access key retire": "KEY", "access rule list": "",
    "access rule create": "mole ORG --sets logs --until 2030-01-01T00:00:00Z --sign-key PEM",
    "access rule revoke": "RULE", "usage": "",
    "key show": "", "key attach": "token label", "key withdraw": "", "key restore": "", "key rotate": "",
    "key platform": "", "event list": "", "event show": "EVENT",
    "event watch": "--after 0 --count 1", "notice list": "", "notice target list": "",
    "notice target add": "mole@example.org", "notice target remove": "TARGET",
    "notice target test": "TARGET", "log checkpoint": "", "log export": "-o OUT", "log mirror": "MIRROR",
    "log receipt": "EVENT -o -", "log verify": "--vkey VKEY",
    "log watch": "WATCHED --vkey VKEY --after 0 --count 1", "log vkey": "", "log witnesses": "",
    "version": "",
}  # fmt: skip
# These run programs, change this machine's configuration, or run the platform.
SPARED = {
    "up", "gateway", "witness", "store backup", "store rotate-key",
    "login", "logout", "completion", "project use", "access key generate",
    "org create", "org suspend", "org resume", "host dedicate", "host drain", "host lost", "host resume",
    "pool create", "pool pause", "pool resume", "pool autoscale set", "pool autoscale rm", "site create",
    "capacity-plan create", "capacity-plan rm", "device-model put", "quota set", "quota rm",
    "fair-share set", "budget set", "budget rm", "rate set", "reservation create", "reservation cancel",
    "access request", "key platform-rotate", "access confirm", "access end", "access explain",
}  # fmt: skip


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all commands."""
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, (*path, name))


def test_the_table_has_every_command() -> None:
    assert set(leaves(root)) == GIVEN.keys() | SPARED


@dataclass
class Scene:
    """A tenant's things, and the words that stand for them."""

    plane: Plane
    operator: str
    admin: Kumoi
    approver: Approver
    words: dict[str, str]

    def approved(self) -> str:
        """The id of a live request of the operator for everything of the tenant."""
        with Kumoi(self.plane.url, self.operator) as client:
            body = AccessRequestCreate(self.words["ORG"], tuple(AccessSet), "to look after everything")
            asked = client.access_requests.create(self.words["ORG"], body)
        signed = AccessApprove(self.approver.id, self.approver.sign(asked.statement))
        return self.admin.access_requests.approve(self.words["ORG"], asked.id, signed).id

    def expire(self, request: str) -> None:
        """Let an access be over now: the shortest there is takes a minute."""
        with SqliteFile(self.plane.data_dir / "kumoi.db", self.plane.data_dir / "keys").connected() as store:
            store.execute("UPDATE access_requests SET expires_us = approved_us + 1 WHERE id = ?", (request,))
        wait_for(lambda: self.state(request) == "expired")

    def state(self, request: str) -> str:
        listed = self.admin.access_requests.list(self.words["ORG"])
        return next(one.state for one in listed if one.id == request)


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true value, asked for at most as often as a slow machine needs."""
    for _ in range(600):
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("the region did not get there")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("region")
    settings = {"VOLUME_ENCRYPTION": "yes" if CAN_ENCRYPT else "no", "GATEWAY": "yes"}
    settings["GATEWAY_LISTEN"] = "127.0.0.1:0"
    plane = Plane(
        place / "data", os.urandom(32), **{f"KUMOI_{name}": value for name, value in settings.items()}
    )
    admin = Kumoi(plane.url, plane.tenant())
    try:
        made = scene_make(plane, admin, place)
        yield made
        version = admin.services.get(made.words["SERVICE"]).version
        admin.services.delete(made.words["SERVICE"], version)
        wait_for(lambda: admin.services.get(made.words["SERVICE"]).state == "deleted")
    finally:
        admin.close()
        plane.end()
        volumes_end(plane.data_dir)


def scene_make(plane: Plane, admin: Kumoi, place: Path) -> Scene:
    operator = (plane.data_dir / "admin.token").read_text().strip()
    me = admin.whoami()
    org = me.organization
    project = admin.projects.create(org, "canary-project").id
    admin.secrets.put(project, "canary-secret", b"canary-hush")
    report = place / "report"
    report.write_bytes(b"canary-content")
    admin.files.put(project, "canary-path/report", report)
    spec = JobSpec(
        ("/bin/sh", "-c", "echo canary-output; : canary-argument"),
        name="canary-job",
        environment={"CANARY": "canary-value"},
        secrets={"hush": "canary-secret"},
    )
    job = admin.jobs.create(project, spec).id
    serve = "exec python3 -m http.server 8080; : canary-argument"
    run = RevisionSpec(8_080, ("/bin/sh", "-c", serve), environment={"CANARY": "canary-value"})
    named = ServiceSpec(run, "canary-service", ScaleSpec(1), RouteSpec(("canary-service.example",)))
    service = admin.services.create(project, named).id
    approver = Approver(ORIGIN, org)
    approver.id = admin.access_keys.create(org, AccessKeyCreate("first", approver.public)).id
    with Kumoi(plane.url, operator) as client:
        asked = client.access_requests.create(
            org, AccessRequestCreate(org, (AccessSet.LOGS,), "to look at it")
        )
        hosts = list(client.hosts.list())
        plans = [plan.id for plan in client.plans.list()]
    nothing = "0" * 26
    pem, batch = place / "mole.pem", place / "batch.jsonl"
    pem.write_bytes(pem_of(Approver(ORIGIN, org)))
    batch.write_text('{"command": ["/bin/true"]}\n')
    words = {
        "ORG": org, "ADMIN": me.id, "PROJECT": project, "JOB": job, "SERVICE": service, "REQUEST": asked.id,
        "ROLE": me.roles[0].id, "TOKEN": me.token.id, "KEY": approver.id, "FILE": str(report),
        "BATCH": str(batch), "PEM": str(pem), "OUT": str(place / "out"), "MIRROR": str(place / "mirror"),
        "WATCHED": str(place / "watched"), "VKEY": admin.log.vkey(), "REPLICA": f"rep_{nothing}",
        "NOTHING": f"rsv_{nothing}", "RULE": f"acr_{nothing}", "TARGET": f"ntt_{nothing}",
        "HOST": hosts[0].name if hosts else "nothing", "PLAN": plans[0] if plans else f"plan_{nothing}",
        "EVENT": next(iter(admin.events.organization(org))).id,
    }  # fmt: skip
    if any(host.state == "schedulable" and host.health == "up" for host in hosts):
        wait_for(lambda: admin.jobs.get(job).ended_at)
        wait_for(lambda: is_served(plane, "canary-service.example"))
    return Scene(plane, operator, admin, approver, words)


def is_served(plane: Plane, host: str) -> bool:
    """Whether the gateway's HAProxy brings a request for this host to a replica."""
    place = plane.data_dir / "run" / "gateway.json"
    listen = json.loads(place.read_text())["listen"] if place.exists() else None
    try:
        return listen is not None and httpx.get(f"http://{listen}/", headers={"host": host}).is_success
    except httpx.HTTPError:
        return False


def pem_of(approver: Approver) -> bytes:
    """The private key of an approver, as openssl writes it."""
    der = bytes.fromhex("302e020100300506032b657004220420") + approver.key.private_bytes_raw()
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----\n".encode()


@pytest.fixture
def printed(scene: Scene, kumoi: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """What each command prints to the operator, or to whoever has `token`."""

    def run(token: str = scene.operator) -> dict[str, str]:
        variables = {"URL": scene.plane.url, "TOKEN": token, "ORGANIZATION": scene.words["ORG"]}
        for name, value in (variables | {"PROJECT": scene.words["PROJECT"]}).items():
            monkeypatch.setenv(f"KUMOI_{name}", value)
        found = {}
        for command, given in GIVEN.items():
            arguments = [scene.words.get(word, word) for word in given.split()]
            ran = kumoi(*command.split(), *arguments, stdin=b"canary-free")
            # What the operator gave is no news to it.
            own = (word for word in arguments if "canary" in word)
            text = ran.out + ran.err
            for word in own:
                text = text.replace(word, "")
            found[command] = text
        return found

    return run


def told(printed: dict[str, str]) -> set[tuple[str, str]]:
    return {(command, canary) for command, text in printed.items() for canary in CANARIES if canary in text}


def test_no_command_tells_an_operator_anything_without_a_live_grant(scene: Scene, printed: Any) -> None:
    assert told(printed()) == set()
    approved = scene.approved()
    opened = {canary for _, canary in told(printed())}
    expected = set(CANARIES) - {"canary-hush"}
    assert opened | {"canary-output"} == expected
    scene.admin.access_requests.revoke(scene.words["ORG"], approved)
    assert told(printed()) == set()
    scene.expire(scene.approved())
    assert told(printed()) == set()


@pytest.mark.skipif(not CAN_ENCRYPT, reason="this machine cannot mount a gocryptfs volume (no FUSE)")
def test_no_file_under_data_holds_the_content_of_a_tenant(scene: Scene) -> None:
    """What lies on the disk; the plain side of a mounted volume is not on it.

    The store is looked into as well, with its key: names are there, and nothing else of a tenant's.
    """
    device = scene.plane.data_dir.stat().st_dev
    content, names = {canary.encode() for canary in CANARIES} - NAMES, set()
    looked = 0
    for place, directories, files in os.walk(scene.plane.data_dir):
        directories[:] = [name for name in directories if Path(place, name).stat().st_dev == device]
        assert not [canary for canary in CANARIES for name in (*directories, *files) if canary in name]
        for file in (Path(place, name) for name in files):
            if file.is_file() and not file.is_symlink():
                held, opened = file.read_bytes(), bytes_of(file)
                assert not [canary for canary in content | NAMES if canary in held], file
                assert not [canary for canary in content if canary in opened], file
                names |= {name for name in NAMES if name in opened}
                looked += 1
    assert looked > 10
    assert {b"canary-project", b"canary-job"} <= names, "the search finds what is there"
