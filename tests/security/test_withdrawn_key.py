"""A running region whose tenant holds its key: withdrawn, everything of it closes, by itself."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from softhsm import SoftToken, SoftTokens
from volume_places import volumes_end
from witnessed_region import Plane, job_await

from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError
from kumoi.model.jobs import JobSpec
from kumoi.model.keys import OnWithdraw

WAIT_S = 60
STEP_S = 0.02


@pytest.fixture
def token(soft_tokens: SoftTokens) -> SoftToken:
    return soft_tokens.take()


@pytest.fixture
def plane(tmp_path: Path, token: SoftToken) -> Iterator[Plane]:
    """A region that offers the tenant `acme` a token."""
    rule = token.rule()
    file = tmp_path / "tokens.toml"
    lines = ("[[tokens]]", 'name = "hsm"', f'module = "{rule.module}"', f'uri = "pkcs11:token={rule.label}"')
    file.write_text("\n".join([*lines, f'pin_file = "{rule.pin_file}"', 'organizations = ["acme"]', ""]))
    encrypted = "yes" if shutil.which("gocryptfs") and os.access("/dev/fuse", os.R_OK | os.W_OK) else "no"
    variables = {"KUMOI_TOKENS_FILE": str(file), "KUMOI_VOLUME_ENCRYPTION": encrypted}
    opened = Plane(tmp_path / "data", bytes(range(32)), **variables)
    yield opened
    opened.end()
    volumes_end(opened.data_dir)


def until(what: Callable[[], Any]) -> float:
    """How long it took until `what` was so, in seconds."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + WAIT_S:
        if what():
            return time.monotonic() - began_s
        time.sleep(STEP_S)
    raise AssertionError("it never became so")


def refused(work: Callable[[], object]) -> str:
    """The code of the refusal, or nothing."""
    try:
        work()
    except ClientError as error:
        return str(getattr(error, "code", error))
    return ""


def test_a_key_that_leaves_its_token_closes_everything_and_one_that_comes_back_opens_it(
    plane: Plane, token: SoftToken, capsys: pytest.CaptureFixture[str]
) -> None:
    with Kumoi(plane.url, plane.tenant()) as client:
        me = client.whoami().organization
        project = client.projects.create(me, "apollo").id
        client.secrets.put(project, "password", b"one")
        shown = client.keys.attach(me, "hsm", "key", OnWithdraw.END)
        assert shown.holder is not None
        spec = JobSpec(("/bin/sh", "-c", "exec sleep 300"), secrets={"PASSWORD": "password"})
        job = client.jobs.create(project, spec).id
        job_await(client, job)
        token.key_hide()
        took_s = until(lambda: refused(lambda: client.secrets.put(project, "password", b"two")))
        with capsys.disabled():
            print(f"closed {took_s:.2f} s after the key was gone")
        assert refused(lambda: client.secrets.put(project, "password", b"two")) == "key_withdrawn"
        assert refused(lambda: client.jobs.create(project, spec)) == "key_withdrawn"
        assert client.jobs.get(job).withheld == "key_withdrawn"
        assert client.jobs.wait(job, timeout_s=WAIT_S).state == "cancelled"
        plane.kill()
        plane.start()
        assert refused(lambda: client.jobs.create(project, spec)) == "key_withdrawn"
        token.key_show()
        until(lambda: not client.jobs.get(job).withheld)
        again = client.jobs.create(project, spec).id
        job_await(client, again)
        client.keys.withdraw(me)
        assert refused(lambda: client.jobs.create(project, spec)) == "key_withdrawn"
        assert client.jobs.wait(again, timeout_s=WAIT_S).state == "cancelled"
        restored = client.keys.restore(me)
        assert restored.holder is not None
        assert restored.holder.state == "held"
        waiting = client.jobs.create(project, spec).id
        job_await(client, waiting)
        client.jobs.cancel(waiting)
        actions = [
            event.action for event in client.events.organization(me) if event.action.startswith("key_")
        ]
    assert actions[::-1][:3] == ["key_attach", "key_lost", "key_found"]
    assert actions[1::-1] == ["key_withdraw", "key_restore"]


def test_files_and_logs_close_within_a_second_and_come_back_with_what_work_wrote_meanwhile(
    plane: Plane, token: SoftToken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_bytes(b"content")
    with Kumoi(plane.url, plane.tenant()) as client:
        me = client.whoami().organization
        project = client.projects.create(me, "apollo").id
        client.keys.attach(me, "hsm", "key", OnWithdraw.CONTINUE)
        client.files.put(project, "in", tmp_path / "in")
        spec = JobSpec(("/bin/sh", "-c", "echo begun; sleep 3; cat in; echo went on"))
        job = client.jobs.create(project, spec).id

        def log() -> bytes:
            return b"".join(part.data for part in client.jobs.logs(job))

        def paths() -> list[str]:
            return [
                refused(log),
                refused(lambda: client.files.get(project, "in")),
                refused(lambda: list(client.files.list(project))),
                refused(lambda: client.files.put(project, "new", tmp_path / "in")),
                refused(lambda: client.files.delete(project, "in")),
            ]

        until(lambda: log() == b"begun\n")
        token.key_hide()
        took_s = until(lambda: refused(lambda: list(client.files.list(project))))
        with capsys.disabled():
            print(f"files closed {took_s:.2f} s after the key was gone")
        assert paths() == ["key_withdrawn"] * 5
        place = plane.data_dir / "objects" / me
        if place.parent.is_mount():
            until(lambda: not any(place.iterdir()))
        assert client.jobs.wait(job, timeout_s=WAIT_S).state == "succeeded"
        assert paths() == ["key_withdrawn"] * 5
        token.key_show()
        until(lambda: not refused(log))
        assert log() == b"begun\ncontentwent on\n"
        assert client.files.get(project, "in") == b"content"
        token.take_away()
        until(lambda: refused(log))
        assert paths() == ["key_withdrawn"] * 5
        token.put_back()
        until(lambda: not refused(log))
        assert client.files.get(project, "in") == b"content"
