"""The outbox of notices: expanded once to those who want it, tried until it is taken or given up."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from region_rows import T0_US, RegionRows

from kumoi.model.ids import IdKind
from kumoi.model.notices import CHOICES, NoticeKind
from kumoi.store import notice_targets, notices, schema
from kumoi.store.database import Store
from kumoi.store.errors import DuplicateRow, ImpossibleState
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.notices import SendingEnd, notice_expand, notice_row, notices_drop

LATER_US = T0_US + 1_000_000


class Outbox:
    """Notices and targets of two organizations."""

    def __init__(self, store: Store) -> None:
        self.store, self.region = store, RegionRows(store)
        self.one, self.two = (self.region.organizations[name] for name in ("one", "two"))

    def target(
        self, organization: str, address: str, kinds: Sequence[str] = CHOICES, *, at_us: int = T0_US
    ) -> str:
        row = {"id": id_new(IdKind.NOTICE_TARGET), "organization_id": organization, "channel": "mail"}
        row |= {"address": address, "kinds": msgspec.json.encode(sorted(kinds)).decode()}
        self.region.write(schema.notice_targets, row | {"created_us": at_us})
        return str(row["id"])

    def notice(self, kind: NoticeKind, organization: str, *, at_us: int = T0_US) -> str:
        event = event_row(kind, at_us=at_us, actor="plane", resource="r", organization=organization)
        row = notice_row(kind, event)
        self.region.write(schema.events, event)
        self.region.write(schema.notices, row)
        return str(row["id"])

    def expand(self) -> None:
        while self.store.transact_wait(None, notice_expand, LATER_US):
            pass

    def sendings(self) -> list[Any]:
        return self.region.rows(schema.notice_sendings)

    def sent_to(self, notice: str) -> set[str]:
        return {row.target_id for row in self.sendings() if row.notice_id == notice}

    def end(self, sending: str, *, is_delivered: bool, **more: Any) -> None:
        end = SendingEnd(sending, LATER_US, is_delivered, **more)
        self.store.transact_wait(None, notices.sendings_record, [end])


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store)


def test_a_notice_goes_to_its_organization_and_a_region_wide_one_to_everybody(outbox: Outbox) -> None:
    mine = outbox.target(outbox.one, "a@one.example")
    theirs = outbox.target(outbox.two, "a@two.example")
    of_access = outbox.target(outbox.two, "b@two.example", [NoticeKind.ACCESS_REQUEST])
    request = outbox.notice(NoticeKind.ACCESS_REQUEST, outbox.two)
    witness = outbox.notice(NoticeKind.WITNESS_FAIL, outbox.one)
    outbox.expand()
    assert outbox.sent_to(request) == {theirs, of_access}
    assert outbox.sent_to(witness) == {mine, theirs}


def test_a_target_gets_nothing_from_before_it(outbox: Outbox) -> None:
    outbox.target(outbox.one, "a@one.example", at_us=T0_US + 1)
    outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    outbox.expand()
    assert outbox.sendings() == []


def test_many_targets_are_written_in_parts_each_once(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "EXPAND_MAX", 2)
    targets = {outbox.target(outbox.one, f"{number}@one.example") for number in range(5)}
    notice = outbox.notice(NoticeKind.LOG_GAP_BEGIN, outbox.one)
    assert outbox.store.transact_wait(None, notice_expand, LATER_US)
    assert len(outbox.sendings()) == 2
    outbox.expand()
    assert len(outbox.sendings()) == 5
    assert outbox.sent_to(notice) == targets


def test_of_each_target_the_oldest_that_is_due_comes_and_first_tries_before_others(outbox: Outbox) -> None:
    tried, fresh = (outbox.target(outbox.one, f"{name}@one.example") for name in ("a", "b"))
    first = outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    outbox.expand()
    for row in outbox.sendings():
        if (row.notice_id, row.target_id) == (first, tried):
            outbox.end(row.id, is_delivered=False, failure="it answered 500", next_us=T0_US + 5)
    found = outbox.store.read_wait(notices.sendings_due, LATER_US, 10)
    assert [(row.target_id, row.attempts) for row in found] == [(fresh, 0), (tried, 1)]
    early = outbox.store.read_wait(notices.sendings_due, T0_US + 4, 10)
    assert {row.attempts for row in early} == {0}


def test_what_was_given_up_is_an_event_once(outbox: Outbox) -> None:
    target = outbox.target(outbox.one, "a@one.example")
    outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    outbox.expand()
    (sending,) = outbox.sendings()
    for _ in range(2):
        outbox.end(sending.id, is_delivered=False, failure="it does not answer")
    (row,) = outbox.sendings()
    assert (row.state, row.attempts, row.ended_us) == ("given_up", 1, LATER_US)
    told = [row.canonical for row in outbox.region.rows(schema.events) if "notice_give_up" in row.canonical]
    assert len(told) == 1
    assert target in told[0]


def test_what_nobody_waits_for_is_dropped_in_time(outbox: Outbox) -> None:
    outbox.target(outbox.one, "a@one.example")
    outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    assert outbox.store.transact_wait(None, notices_drop, LATER_US, 10) == 0, "it is not expanded"
    outbox.expand()
    assert outbox.store.transact_wait(None, notices_drop, LATER_US, 10) == 0, "it is pending"
    (sending,) = outbox.sendings()
    outbox.end(sending.id, is_delivered=True)
    assert outbox.store.transact_wait(None, notices_drop, T0_US, 10) == 0, "it is young"
    assert outbox.store.transact_wait(None, notices_drop, LATER_US, 10) == 1
    assert outbox.sendings() == []


def test_targets_are_counted_listed_and_removed_with_their_sendings(outbox: Outbox) -> None:
    first, second = (outbox.target(outbox.one, f"{name}@one.example") for name in ("a", "b"))
    outbox.target(outbox.two, "a@two.example")
    outbox.notice(NoticeKind.BREAK_GLASS, outbox.one)
    outbox.expand()
    transact, read = outbox.store.transact_wait, outbox.store.read_wait
    assert transact(None, notice_targets.target_count, outbox.one) == 2
    page = read(notice_targets.target_list, outbox.one, 1, None)
    assert [target.id for target in page] == [first]
    assert [target.id for target in read(notice_targets.target_list, outbox.one, 9, first)] == [second]
    listed = read(notices.sending_list, outbox.one, 9, None)
    assert {sending.target for sending in listed} == {first, second}
    assert read(notices.sending_list, outbox.one, 9, listed[-1].id) == []
    assert [transact(None, notice_targets.target_delete, first) for _ in range(2)] == [True, False]
    assert read(notice_targets.target_get, first) is None
    assert [sending.target for sending in read(notices.sending_list, outbox.one, 9, None)] == [second]


def test_an_address_is_a_target_of_an_organization_once(outbox: Outbox) -> None:
    outbox.target(outbox.one, "a@one.example")
    outbox.target(outbox.two, "a@one.example")
    with pytest.raises(DuplicateRow):
        outbox.target(outbox.one, "a@one.example")


def test_a_trial_is_known_when_its_target_is_gone(outbox: Outbox) -> None:
    target = outbox.target(outbox.one, "a@one.example")
    at_us = T0_US + 5
    notice = outbox.notice(NoticeKind.TRIAL, outbox.one, at_us=at_us)
    outbox.region.write(schema.notice_sendings, notices.sending_row(notice, at_us, target, outbox.one))
    assert outbox.store.transact_wait(None, notice_targets.target_delete, target)

    def tried(organization: str, since_us: int) -> bool:
        return outbox.store.read_wait(notice_targets.is_tried_since, organization, since_us)

    assert [tried(outbox.one, at_us - 1), tried(outbox.one, at_us)] == [True, False]
    assert not tried(outbox.two, at_us - 1)


def test_a_webhook_without_a_secret_is_refused(outbox: Outbox) -> None:
    row = {"id": id_new(IdKind.NOTICE_TARGET), "organization_id": outbox.one, "channel": "webhook"}
    with pytest.raises(ImpossibleState):
        outbox.region.write(
            schema.notice_targets, row | {"address": "https://a/", "kinds": "[]", "created_us": T0_US}
        )
