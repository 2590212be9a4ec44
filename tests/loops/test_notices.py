"""Notices reach real receivers, under one id, whoever is slow, hostile or killed meanwhile."""

import base64
import json
import re
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from loop_world import Fuse, FusedStore, Killed, World
from notice_receivers import LOGIN, Receiver, certificate_make
from region_rows import T0_US

from kumoi.core.notice_addresses import NoticeRules, networks_parse
from kumoi.core.notices import GIVE_UP_S, KEY_WAIT_S, RETRY_MAX_S, SLOTS_ORGANIZATION, TRIES_MIN
from kumoi.loops import notice_mails, notice_webhooks
from kumoi.loops.notice_mails import MailRelay
from kumoi.loops.notice_sending import NotSent, Trust
from kumoi.loops.notice_webhooks import EnteringBackend
from kumoi.loops.notices import NoticesMemory, NoticeWays, notices_activate
from kumoi.model.ids import IdKind
from kumoi.model.notices import CHOICES, NoticeKind
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import StoreBusy
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.notice_targets import target_seal_name
from kumoi.store.notices import notice_row, sendings_record

PAGE = Path(__file__).parents[2] / "docs" / "tenant" / "notices.md"
SECRET = bytes(range(32))
SHOWN = "whsec_" + base64.b64encode(SECRET).decode()
LOOPBACK = NoticeRules(networks_parse("127.0.0.0/8,::1/128"), has_mail=True)
WAIT_S = 20


class Notified:
    """A region whose organizations have targets, and its loop of notices until it is killed."""

    def __init__(self, world: World, trust: Trust) -> None:
        self.world, self.region = world, world.region
        self.fence = next(iter(world.fences.values()))
        self.ways = NoticeWays(LOOPBACK, trust)
        self.heard = threading.Event()
        self.one, self.two = (self.region.organizations[name] for name in ("one", "two"))
        self.start()

    def start(self, store: Any = None) -> None:
        """A (re)start of the plane: nothing is remembered."""
        self.memory = NoticesMemory()
        self.context = replace(
            self.world.context,
            store=store or self.world.store,
            nudge=lambda *_: self.heard.set(),
            region="tokyo-1",
        )

    def target(self, address: str, organization: str | None = None, *, at_us: int = T0_US) -> str:
        organization = organization or self.one
        row: dict[str, Any] = {"id": id_new(IdKind.NOTICE_TARGET), "organization_id": organization}
        row |= {"address": address, "channel": "webhook" if "://" in address else "mail"}
        row |= {"kinds": msgspec.json.encode(sorted(CHOICES)).decode(), "created_us": at_us}
        if "://" in address:
            name = target_seal_name(organization, row["id"])
            sealed = self.world.context.keys.seal(name, SECRET)
            row |= {"sealed": sealed.blob, "key_version": sealed.key_version}
        self.region.write(schema.notice_targets, row)
        return str(row["id"])

    def tell(
        self, kind: NoticeKind = NoticeKind.BREAK_GLASS, organization: str | None = None, **detail: Any
    ) -> str:
        """Write an event and its notice together, as whoever tells does."""
        event = event_row(
            kind,
            at_us=self.world.clock(),
            actor="plane",
            resource="r",
            organization=organization or self.one,
            detail=detail,
        )
        notice = notice_row(kind, event)
        self.region.write(schema.events, event)
        self.region.write(schema.notices, notice)
        return str(notice["id"])

    def look(self) -> None:
        self.heard.clear()
        while notices_activate(self.memory, self.ways, self.context, self.fence):
            pass

    def until(self, what: Callable[[], Any]) -> Any:
        """The first true value of `what` that the loop brings about, without a move of the clock."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            self.look()
            if found := what():
                return found
            self.heard.wait(0.1)
        raise AssertionError(self.sendings())

    def tried(self) -> None:
        """Until nothing is under way."""
        self.until(lambda: not self.memory.under_way)

    def sendings(self) -> list[Any]:
        return self.region.rows(schema.notice_sendings)

    def states(self) -> list[str]:
        return [row.state for row in self.sendings()]

    def next_us(self) -> int:
        (row,) = self.sendings()
        return int(row.next_us)

    def failure(self) -> str:
        (row,) = self.sendings()
        return str(row.failure)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def trust(certificate: Path) -> Trust:
    return Trust(str(certificate))


@pytest.fixture
def notified(world: World, trust: Trust) -> Notified:
    return Notified(world, trust)


@pytest.fixture
def webhook(tmp_path: Path, certificate: Path) -> Iterator[Receiver]:
    made = Receiver("webhook", tmp_path, certificate)
    yield made
    made.end()


@pytest.fixture
def mail(tmp_path: Path, certificate: Path) -> Iterator[Receiver]:
    made = Receiver("mail", tmp_path, certificate)
    yield made
    made.end()


def snippets() -> list[str]:
    """What the page for tenants shows, by its heading: how to verify with Python, and with openssl."""
    text = PAGE.read_text("utf-8")
    found = []
    for begin in ("With Python:", "With openssl"):
        block = re.search(r"\n\n((?:    .*\n|\n)+)", text[text.index(begin) :])
        assert block is not None
        found.append("\n".join(line[4:] for line in block[1].splitlines()))
    return found


def verifies(got: dict[str, Any], now_s: float) -> bool:
    """Whether the receiver's own program, the page's, takes it."""
    names: dict[str, Any] = {}
    exec(snippets()[0], names)
    names["time"] = SimpleNamespace(time=lambda: now_s)
    return bool(names["notice_verify"](SHOWN, got["headers"], base64.b64decode(got["body"])))


def body(got: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(got["body"]))


def test_a_notice_is_signed_in_both_languages_and_says_no_more_than_it_may(
    notified: Notified, webhook: Receiver
) -> None:
    notified.target(webhook.url("ok?for=one"))
    notified.target(webhook.url("ok?for=two"), notified.two)
    notice = notified.tell(NoticeKind.ACCESS_REQUEST, reason="disk 7 is failing", job="payroll", actor="op")
    notified.until(lambda: notified.states() == ["delivered"])
    (got,) = webhook.got()
    assert got["headers"]["webhook-id"] == notice
    assert verifies(got, T0_US / 1_000_000 + 299)
    assert not verifies(got, T0_US / 1_000_000 + 301)
    assert not verifies(got | {"body": base64.b64encode(b"{}").decode()}, T0_US / 1_000_000)
    said = body(got)
    assert said["type"] == "access_request"
    data = said["data"]
    assert data["organization"] == notified.one
    assert data["detail"] == {"reason": "disk 7 is failing"}
    assert data["link"] == f"/v1/events/{data['event']}"
    assert "asks for access" in data["text"]["en"]
    assert "承認するまでアクセスはできません" in data["text"]["ja"]
    assert "payroll" not in base64.b64decode(got["body"]).decode()


def test_a_region_wide_notice_reaches_everybody_without_the_platforms_event(
    notified: Notified, webhook: Receiver
) -> None:
    platform = notified.region.platform
    for name, organization in (("one", notified.one), ("two", notified.two), ("platform", platform)):
        notified.target(webhook.url(f"ok?for={name}"), organization)
    notified.tell(NoticeKind.WITNESS_FAIL, platform, witness="w.example/1", vkey="k", failure="f")
    notified.until(lambda: notified.states() == ["delivered"] * 3)
    said = {got["path"].rpartition("=")[2]: body(got)["data"] for got in webhook.got()}
    assert {one["detail"]["witness"] for one in said.values()} == {"w.example/1"}
    assert all("w.example/1" in one["text"]["ja"] for one in said.values())
    assert said["one"]["link"] == said["two"]["link"] == "/log/witnesses"
    assert said["platform"]["link"].startswith("/v1/events/")
    assert said["one"]["organization"] == notified.one


def test_the_page_shows_how_openssl_verifies(notified: Notified, webhook: Receiver, tmp_path: Path) -> None:
    notified.target(webhook.url("ok"))
    notified.tell()
    notified.until(lambda: notified.states() == ["delivered"])
    (got,) = webhook.got()
    (tmp_path / "body").write_bytes(base64.b64decode(got["body"]))
    given = {"SECRET": SHOWN, "ID": got["headers"]["webhook-id"], "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        ["bash", "-c", snippets()[1]],
        env=given | {"TIMESTAMP": got["headers"]["webhook-timestamp"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert f"v1,{ran.stdout.strip()}" == got["headers"]["webhook-signature"]


def test_where_an_answer_was_lost_the_repeat_has_the_same_id_and_body(
    notified: Notified, webhook: Receiver
) -> None:
    notified.target(webhook.url("lose"))
    notice = notified.tell()
    notified.until(lambda: notified.failure() == "it does not answer")
    notified.tried()
    assert len(webhook.got()) == 1, "nothing is tried again before its time"
    notified.world.clock.pass_s(5)
    notified.until(lambda: notified.states() == ["delivered"])
    first, second = webhook.got()
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"] == notice
    assert first["body"] == second["body"]
    assert first["headers"]["webhook-timestamp"] < second["headers"]["webhook-timestamp"]
    assert verifies(second, notified.world.clock() / 1_000_000)


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        ("fail", "it answered 500"),
        ("redirect", "it answered 307, and redirects are not followed"),
        ("hang", "it does not answer within 0.5 s"),
        ("trickle", "it does not answer within 0.5 s"),
    ],
)
def test_a_hostile_receiver_costs_a_bounded_time(
    notified: Notified, webhook: Receiver, monkeypatch: pytest.MonkeyPatch, path: str, failure: str
) -> None:
    monkeypatch.setattr(notice_webhooks, "SEND_S", 0.5)
    notified.target(webhook.url(path))
    notified.tell()
    assert notified.until(notified.failure) == failure
    assert [got["path"] for got in webhook.got()] == [f"/{path}"]


def test_an_answer_without_end_is_not_read(notified: Notified, webhook: Receiver) -> None:
    notified.target(webhook.url("endless"))
    notified.tell()
    notified.until(lambda: notified.states() == ["delivered"])


def test_a_certificate_that_does_not_verify_gets_nothing(notified: Notified, webhook: Receiver) -> None:
    notified.ways = replace(notified.ways, trust=Trust())
    notified.target(webhook.url("ok"))
    notified.tell()
    assert notified.until(notified.failure) == "its certificate does not verify"
    assert webhook.got() == []


def test_the_slow_keep_nobody_else_waiting(notified: Notified, webhook: Receiver) -> None:
    for number in range(10):
        notified.target(webhook.url(f"hang?{number}"), notified.two)
    for number in range(3):
        notified.target(webhook.url(f"ok?{number}"))
    for _ in range(3):
        notified.tell(NoticeKind.LOG_GAP_BEGIN, notified.region.platform, gap="placing")
    mine = [row.id for row in notified.region.rows(schema.notice_targets, organization_id=notified.one)]

    def delivered() -> bool:
        done = [row for row in notified.sendings() if row.state == "delivered"]
        return len(done) == 9 and {row.target_id for row in done} == set(mine)

    notified.until(delivered)
    hanging = list(notified.memory.under_way.values())
    assert {one.organization_id for one in hanging} == {notified.two}
    assert len(hanging) == SLOTS_ORGANIZATION


def test_what_is_never_taken_is_given_up_with_an_event(notified: Notified, webhook: Receiver) -> None:
    target = notified.target(webhook.url("fail"))
    notified.tell()
    notified.until(notified.failure)
    notified.tried()
    notified.world.clock.pass_s(GIVE_UP_S)
    for tries in range(2, TRIES_MIN):
        notified.until(lambda tries=tries: notified.sendings()[0].attempts == tries)
        assert notified.states() == ["pending"]
        notified.tried()
        notified.world.clock.pass_s(RETRY_MAX_S)
    notified.until(lambda: notified.states() == ["given_up"])
    told = [json.loads(row.canonical) for row in notified.region.rows(schema.events)]
    (given_up,) = [event for event in told if event["action"] == "notice_give_up"]
    assert (given_up["resource"], given_up["organization"]) == (target, notified.one)
    assert given_up["detail"]["attempts"] == TRIES_MIN


def test_a_target_that_is_removed_gets_nothing_more(notified: Notified, webhook: Receiver) -> None:
    target = notified.target(webhook.url("hang"))
    notified.tell()
    notified.until(webhook.got)
    table = schema.notice_targets
    notified.world.store.transact_wait(None, lambda c: c.execute(table.delete().where(table.c.id == target)))
    notified.tell()
    notified.look()
    assert notified.sendings() == []


class BusyStore:
    """A store that is busy the first time that an outcome is written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact_wait(self, fence: Any, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work is sendings_record and not self.refused:
            self.refused += 1
            raise StoreBusy("the database is away")
        return self._store.transact_wait(fence, work, *args, **kwargs)


def test_an_outcome_that_could_not_be_written_is_written_later(notified: Notified, webhook: Receiver) -> None:
    notified.target(webhook.url("ok"))
    notified.tell()
    busy = BusyStore(notified.world.store)
    notified.start(busy)
    with pytest.raises(StoreBusy):
        notified.until(lambda: notified.states() == ["delivered"])
    notified.until(lambda: notified.states() == ["delivered"])
    assert (busy.refused, len(webhook.got())) == (1, 1)


class TestKilled:
    """The plane dies at each of its writes, before or after it took effect; receivers live on."""

    def story(self, notified: Notified, webhook: Receiver, store: Any) -> set[str]:
        """Two notices to two targets, of which one loses its first answers."""
        notified.target(webhook.url("ok"))
        notified.target(webhook.url("lose"))
        notices = {notified.tell(), notified.tell()}
        notified.start(store)
        return notices

    def finish(self, notified: Notified) -> None:
        for _ in range(10):
            notified.tried()
            if set(notified.states()) == {"delivered"}:
                return
            notified.world.clock.pass_s(60)
        raise AssertionError(notified.sendings())

    def test_nothing_is_lost_and_repeats_have_the_same_ids(
        self, sqlite_store: Store, tmp_path: Path, certificate: Path, trust: Trust
    ) -> None:
        at, after, deaths = 1, False, 0
        while True:
            place = tmp_path / f"{at}-{after}"
            place.mkdir()
            store = Store(f"sqlite:///{place}/kumoi.db")
            webhook = Receiver("webhook", place, certificate)
            try:
                notified = Notified(World(store), trust)
                fuse = Fuse(at, after=after)
                notices = self.story(notified, webhook, FusedStore(store, fuse))
                try:
                    self.finish(notified)
                except Killed:
                    deaths += 1
                    notified.start()
                    self.finish(notified)
                got = [(one["path"], one["headers"]["webhook-id"]) for one in webhook.got()]
                assert set(got) == {(path, notice) for path in ("/ok", "/lose") for notice in notices}
                assert len(notified.sendings()) == 4
                assert all(got.count(one) <= (3 if one[0] == "/lose" else 2) for one in set(got))
            finally:
                webhook.end()
                store.close()
            if len(fuse.calls) < at:
                break
            at, after = (at, True) if not after else (at + 1, False)
        assert deaths >= 10


def relay(trust: Trust, server: Receiver, **more: Any) -> MailRelay:
    return MailRelay("localhost", server.port, "kumoi@region.example", trust, login=LOGIN, **more)


def test_mail_goes_over_starttls_in_both_languages(notified: Notified, mail: Receiver, trust: Trust) -> None:
    notified.ways = replace(notified.ways, relay=relay(trust, mail))
    target = notified.target("ops@acme.example")
    notice = notified.tell(NoticeKind.ACCESS_REQUEST, reason="disk 7 is failing\r\nBcc: all@acme.example")
    notified.until(lambda: notified.states() == ["delivered"])
    (got,), (message,) = mail.got(), mail.mails()
    assert (got["from"], got["to"], got["tls"]) == ("kumoi@region.example", ["ops@acme.example"], True)
    assert message["message-id"] == f"<{notice}.{target}@region.example>"
    assert message["auto-submitted"] == "auto-generated"
    assert message["subject"].startswith("[tokyo-1] 事業者の運用者がアクセスを求めている / An operator asks")
    assert message["bcc"] is None
    text = message.get_content()
    assert "承認するまでアクセスはできません" in text
    assert "It gets none before you approve" in text
    assert "disk 7 is failing" in text


def test_a_mail_whose_answer_was_lost_is_sent_again_with_the_same_id(
    notified: Notified, mail: Receiver, trust: Trust
) -> None:
    notified.ways = replace(notified.ways, relay=relay(trust, mail))
    notified.target("lose@acme.example")
    notified.tell()
    assert notified.until(notified.failure) == "the mail server does not answer"
    notified.world.clock.pass_s(5)
    notified.until(lambda: notified.states() == ["delivered"])
    first, second = mail.mails()
    assert first.as_bytes() == second.as_bytes()


def test_a_mail_server_that_refuses_or_hangs_is_told_of(
    notified: Notified, mail: Receiver, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified.ways = replace(notified.ways, relay=relay(trust, mail))
    notified.target("refuse@acme.example")
    notified.tell()
    assert notified.until(notified.failure) == "the mail server refuses the address: 550"
    monkeypatch.setattr(notice_mails, "SEND_S", 0.5)
    notified.target("hang@acme.example")
    notified.tell(organization=notified.one)
    failures = notified.until(
        lambda: {row.failure for row in notified.sendings()} >= {"the mail server does not answer"}
    )
    assert failures


@pytest.mark.parametrize(
    ("given", "failure"),
    [
        ({"trust": Trust()}, "the mail server's certificate does not verify"),
        ({"login": ("kumoi", "wrong")}, "the mail server answered 535"),
        ({"login": None}, "the mail server answered 530"),
        ({"is_starttls": False}, "the mail server offers no STARTTLS or no login"),
        ({"is_tls": True}, "the mail server's certificate does not verify"),
    ],
)
def test_mail_leaves_as_the_settings_say_or_not_at_all(
    notified: Notified, mail: Receiver, trust: Trust, given: dict[str, Any], failure: str
) -> None:
    notified.ways = replace(notified.ways, relay=replace(relay(trust, mail), **given))
    notified.target("ops@acme.example")
    notified.tell()
    assert notified.until(notified.failure) == failure
    assert mail.got() == []


def test_a_server_without_starttls_gets_no_mail_unless_it_may(
    notified: Notified, tmp_path: Path, trust: Trust
) -> None:
    plain = Receiver("mail", tmp_path)
    try:
        asked = replace(relay(trust, plain), login=None)
        notified.ways = replace(notified.ways, relay=asked)
        notified.target("ops@acme.example")
        notified.tell()
        assert notified.until(notified.failure) == "the mail server offers no STARTTLS or no login"
        assert plain.got() == []
        notified.ways = replace(notified.ways, relay=replace(asked, is_starttls=False))
        notified.world.clock.pass_s(5)
        notified.until(lambda: notified.states() == ["delivered"])
    finally:
        plain.end()


def test_a_server_that_speaks_a_byte_at_a_time_is_cut(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_mails, "SEND_S", 0.5)
    never, listening = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = listening.accept()
        with connection:
            for _ in range(1_000):
                try:
                    connection.sendall(b"2")
                except OSError:
                    return
                never.wait(0.1)

    threading.Thread(target=trickle, daemon=True).start()
    to = MailRelay("127.0.0.1", listening.getsockname()[1], "kumoi@region.example", trust)
    with pytest.raises((smtplib.SMTPException, OSError)), notice_mails._connected(to):
        raise AssertionError("it never said hello")
    listening.close()


@pytest.mark.parametrize(
    ("addresses", "failure"),
    [
        (["10.0.0.1"], "not a public one"),
        (["93.184.216.34", "127.0.0.1"], "not a public one"),
        (["::1", "93.184.216.34"], "not a public one"),
        (["fe80::1%eth0"], "not a public one"),
        ([], "no address"),
    ],
)
def test_a_name_with_any_closed_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str], failure: str
) -> None:
    looked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        looked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    backend = EnteringBackend(time.monotonic() + 5, NoticeRules(), is_plain=False)
    with pytest.raises(NotSent, match=failure):
        backend.connect_tcp("rebinding.example", 443)
    assert looked == ["rebinding.example"], "the name was looked up once"


def test_a_look_up_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(WAIT_S) and [])
    backend = EnteringBackend(time.monotonic() + 0.2, NoticeRules(), is_plain=False)
    with pytest.raises(NotSent, match="not found in time"):
        backend.connect_tcp("slow.example", 443)
    answered.set()


def test_while_the_key_is_withdrawn_webhooks_wait(
    notified: Notified, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = notified.context.keys
    notified.target(webhook.url("ok"))
    ring.forget(notified.one, "by its administrator")

    def load(organization_id: str) -> None:
        raise KeyWithdrawn(organization_id, "by its administrator")

    monkeypatch.setattr(ring, "load", load)
    notified.tell()
    failure = "its secret cannot be opened: the key of the organization is withdrawn"
    assert notified.until(notified.failure) == failure
    for _ in range(2):
        notified.tried()
        notified.world.clock.pass_s(GIVE_UP_S)
        notified.until(lambda: notified.next_us() > notified.world.clock())
    assert (notified.states(), notified.sendings()[0].attempts) == (["pending"], 0)
    assert notified.next_us() == notified.world.clock() + KEY_WAIT_S * 1_000_000
    monkeypatch.undo()
    notified.world.clock.pass_s(KEY_WAIT_S)
    notified.until(lambda: notified.states() == ["delivered"])
    assert len(webhook.got()) == 1


def test_this_machines_own_address_is_known() -> None:
    assert notice_webhooks._is_own("127.0.0.1")
    assert not notice_webhooks._is_own("192.0.2.1")


def test_without_a_named_network_loopback_gets_nothing(notified: Notified, webhook: Receiver) -> None:
    notified.ways = replace(notified.ways, rules=NoticeRules())
    for url in (webhook.url("ok"), f"https://127.0.0.1:{webhook.port}/ok", f"https://0x7f.1:{webhook.port}/"):
        notified.target(url)
    notified.tell()
    notified.until(lambda: all(row.failure for row in notified.sendings()))
    assert {row.failure for row in notified.sendings()} == {"its address is not a public one"}
    assert webhook.got() == []
