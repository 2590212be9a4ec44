"""A region as it runs tells its tenants at once, by webhook and by mail; after a kill, what it owed."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from notice_receivers import LOGIN, WAIT_S, Receiver, certificate_make
from witnessed_region import Region

from kumoi.loops.notice_webhooks import webhook_headers
from kumoi.main.notices import notice_ways_build
from kumoi.model.settings import Settings


class Told:
    """A region with two witnesses, a receiver of webhooks and a mail server: five processes."""

    def __init__(self, directory: Path) -> None:
        certificate = certificate_make(directory)
        login = directory / "smtp"
        login.write_text("\n".join(LOGIN) + "\n")
        self.webhook = Receiver("webhook", directory, certificate)
        self.mail = Receiver("mail", directory, certificate)
        self.region = Region(
            directory,
            KUMOI_NOTICE_NETWORKS="127.0.0.0/8,::1/128",
            KUMOI_NOTICE_CA_FILE=str(certificate),
            KUMOI_SMTP_URL=f"smtp://localhost:{self.mail.port}",
            KUMOI_SMTP_FROM="kumoi@region.example",
            KUMOI_SMTP_LOGIN_FILE=str(login),
            KUMOI_LOG_GAP_S="2",
        )

    def end(self) -> None:
        self.region.end()
        self.webhook.end()
        self.mail.end()

    def run(self, *words: str, token: str | None = None) -> Any:
        """What a command answers, from its JSON."""
        ran = self.region.kumoi(*words, "--json", token=token)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def got(self, path: str) -> list[dict[str, Any]]:
        return [one for one in self.webhook.got() if one["path"] == path]

    def kinds(self, path: str) -> set[str]:
        return {json.loads(base64.b64decode(one["body"]))["type"] for one in self.got(path)}

    def until(self, what: Callable[[], Any]) -> Any:
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            if found := what():
                return found
            time.sleep(0.05)
        raise AssertionError((self.webhook.got(), self.mail.got()))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.end()


def verifies(secret: str, got: dict[str, Any]) -> bool:
    headers, key = got["headers"], base64.b64decode(secret.removeprefix("whsec_"))
    sent, at_s = headers["webhook-id"], int(headers["webhook-timestamp"])
    made = webhook_headers(sent, at_s, base64.b64decode(got["body"]), key)
    return bool(made["webhook-signature"] == headers["webhook-signature"])


def test_a_witness_that_fails_is_told_of_to_everybody(told: Told) -> None:
    token = told.region.tenant()
    added = told.run("notice", "target", "add", told.webhook.url("ok?tenant"), token=token)
    told.run("notice", "target", "add", "ops@acme.example", "--kind", "witness_fail", token=token)
    told.run("notice", "target", "add", told.webhook.url("ok?operators"))
    told.run("notice", "target", "test", added["target"]["id"], token=token)
    (trial,) = told.until(lambda: told.got("/ok?tenant"))
    assert verifies(added["secret"], trial)
    told.region.witnesses[1].end()
    for path in ("/ok?tenant", "/ok?operators"):
        told.until(lambda path=path: told.kinds(path) >= {"witness_fail", "log_gap_begin"})
    assert all(verifies(added["secret"], one) for one in told.got("/ok?tenant"))
    (message,) = told.until(told.mail.mails)
    assert message["subject"].startswith("[region-1] ログの証人が応答しない / A witness of the log fails")
    assert "witness.example/b" in message.get_content()
    assert message["message-id"].removeprefix("<").partition(".")[0] in {
        one["headers"]["webhook-id"] for one in told.got("/ok?tenant")
    }
    listed = told.until(
        lambda: [
            one
            for one in told.run("notice", "list", token=token)["items"]
            if (one["kind"], one["state"]) == ("witness_fail", "delivered")
        ]
    )
    assert len(listed) == 2


def test_a_request_for_access_is_told_to_its_tenant_alone(told: Told) -> None:
    token = told.region.tenant()
    rival = told.run("org", "create", "rival")["admin_token"]
    told.run("notice", "target", "add", told.webhook.url("ok?acme"), token=token)
    told.run("notice", "target", "add", told.webhook.url("ok?rival"), token=rival)
    told.run("notice", "target", "add", told.webhook.url("ok?operators"))
    organization = told.run("whoami", token=token)["organization"]
    reason = "disk 7 is failing under it"
    words = ("--organization", organization, "--sets", "inspect", "--reason", reason)
    asked = told.run("access", "request", organization, *words)
    (got,) = told.until(lambda: told.got("/ok?acme"))
    data = json.loads(base64.b64decode(got["body"]))["data"]
    assert data["detail"] == {"reason": reason}
    event = told.run("event", "show", data["event"], token=token)
    assert (event["resource"], event["action"]) == (asked["id"], "access_request_create")
    assert told.got("/ok?rival") == told.got("/ok?operators") == []


def test_what_was_under_way_when_the_plane_was_killed_is_sent_again_under_its_id(told: Told) -> None:
    token = told.region.tenant()
    added = told.run("notice", "target", "add", told.webhook.url("stall"), token=token)
    told.region.witnesses[1].end()
    (first, *_) = told.until(lambda: told.got("/stall"))
    told.region.kill()
    told.region.start()
    second = told.until(
        lambda: [
            one
            for one in told.got("/stall")[1:]
            if one["headers"]["webhook-id"] == first["headers"]["webhook-id"]
        ]
    )[0]
    assert second["body"] == first["body"]
    assert verifies(added["secret"], second)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"notice_networks": "10.0.0.1/8"}, "notice_networks"),
        ({"notice_networks": "home"}, "notice_networks"),
        ({"notice_ca_file": __file__}, "certificates"),
        ({"smtp_url": "smtp://user:word@host", "smtp_from": "a@b"}, "smtp_url"),
        ({"smtp_url": "http://host", "smtp_from": "a@b"}, "smtp_url"),
        ({"smtp_url": "smtp://host"}, "smtp_from"),
        ({"smtp_url": "smtp://host", "smtp_from": "A <a@b>"}, "smtp_from"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        notice_ways_build(Settings(tmp_path, **given))


def test_the_login_is_in_a_file_of_two_lines(tmp_path: Path) -> None:
    file = tmp_path / "smtp"
    asked = Settings(tmp_path, smtp_url="smtps://mail.example", smtp_from="a@b", smtp_login_file=str(file))
    for text in ("", "user\n", "user\nword\nmore\n", "\nword\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match="two lines") as refused:
            notice_ways_build(asked)
        assert "word" not in str(refused.value).replace("password", "")
    file.write_text("user\nword\n")
    relay = notice_ways_build(asked).relay
    assert relay is not None
    assert (relay.host, relay.port, relay.is_tls) == ("mail.example", 465, True)
    assert relay.login == ("user", "word")
    assert "word" not in repr(relay)
