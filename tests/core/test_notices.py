"""Notices: who is tried now, when again, what is said of an event; and what a gap of the log is."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.log_gaps import gap_decide
from kumoi.core.notices import (
    GIVE_UP_S,
    PUBLIC,
    RETRY_MAX_S,
    SLOTS,
    SLOTS_DOUBTFUL,
    SLOTS_ORGANIZATION,
    TEXTS,
    TITLES,
    Due,
    details_own,
    details_public,
    retry_decide,
    sendings_choose,
)
from kumoi.model.notices import NoticeKind

S_US = 1_000_000
DUES = st.lists(
    st.builds(
        Due,
        id=st.uuids().map(str),
        target_id=st.integers(0, 60).map(lambda n: f"target-{n}"),
        organization_id=st.integers(0, 12).map(lambda n: f"organization-{n}"),
        is_doubtful=st.booleans(),
    ),
    max_size=120,
    unique_by=lambda one: one.id,
)


@given(DUES, DUES)
def test_slots_are_never_exceeded(first: list[Due], then: list[Due]) -> None:
    under_way = sendings_choose(first, [])
    together = under_way + sendings_choose(then, under_way)
    assert len(together) <= SLOTS
    assert sum(one.is_doubtful for one in together) <= SLOTS_DOUBTFUL
    assert len({one.target_id for one in together}) == len(together)
    for organization in {one.organization_id for one in together}:
        assert sum(one.organization_id == organization for one in together) <= SLOTS_ORGANIZATION


def test_receivers_that_failed_leave_room_for_others() -> None:
    failing = [Due(f"f{n}", f"failing-{n}", f"organization-{n}", True) for n in range(100)]
    fresh = [Due(f"n{n}", f"fresh-{n}", f"organization-{n}", False) for n in range(100)]
    under_way = sendings_choose(failing, [])
    assert len(under_way) == SLOTS_DOUBTFUL
    assert len(sendings_choose(fresh, under_way)) == SLOTS - SLOTS_DOUBTFUL


def test_tries_become_rare_and_end() -> None:
    now_us = created_us = 10**15
    waits, tries = [], 1
    while (next_us := retry_decide(NoticeKind.BREAK_GLASS, tries, created_us, now_us, 0)) is not None:
        waits.append((next_us - now_us) // S_US)
        now_us, tries = next_us, tries + 1
    assert waits[:5] == [5, 10, 20, 40, 80]
    assert max(waits) == waits[-1] == RETRY_MAX_S
    assert GIVE_UP_S <= (now_us - created_us) / S_US < GIVE_UP_S + RETRY_MAX_S


@given(st.integers(1, 10_000), st.integers(0, 999_999))
def test_jitter_takes_half_of_a_wait_at_most(tries: int, jitter_ppm: int) -> None:
    whole, jittered = (retry_decide(NoticeKind.BREAK_GLASS, tries, 0, 0, ppm) for ppm in (0, jitter_ppm))
    assert whole is not None
    assert jittered is not None
    assert whole / 2 <= jittered <= whole


def test_a_trial_is_tried_once() -> None:
    assert retry_decide(NoticeKind.TRIAL, 1, 0, 0, 0) is None


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_kind_says_only_what_everybody_may_read(kind: NoticeKind) -> None:
    named = {name for _, name, _, _ in string.Formatter().parse(TEXTS[kind]) if name}
    assert named <= set(PUBLIC.get(kind, ()))
    assert TITLES[kind]


def test_of_an_events_detail_nothing_leaves_that_no_table_names() -> None:
    detail: dict[str, Any] = {"reason": "disk", "witness": "w", "gap": "placing", "job": "payroll", "vkey": 1}
    assert details_public(NoticeKind.ACCESS_REQUEST, detail) == {}
    assert details_own(NoticeKind.ACCESS_REQUEST, detail) == {"reason": "disk"}
    assert details_public(NoticeKind.WITNESS_FAIL, detail) == {"witness": "w"}
    assert details_own(NoticeKind.WITNESS_FAIL, detail) == {}
    assert details_own(NoticeKind.ACCESS_APPROVE, detail) == {}
    assert details_own(NoticeKind.BREAK_GLASS, {}) == {}


@pytest.mark.parametrize(
    ("since_s", "is_told", "watching_s", "decided"),
    [
        (None, False, 0, None),
        (990, False, 0, None),
        (940, False, 0, None),
        (939, False, 0, True),
        (0, False, 941, None),
        (0, False, 939, True),
        (939, True, 0, None),
        (0, True, 999, None),
        (940, True, 0, False),
        (None, True, 999, False),
    ],
)
def test_a_gap_is_told_once_and_its_end_once(
    since_s: int | None, is_told: bool, watching_s: int, decided: bool | None
) -> None:
    since_us = None if since_s is None else since_s * S_US
    asked = {"watching_us": watching_s * S_US, "now_us": 1_000 * S_US, "bound_us": 60 * S_US}
    assert gap_decide(since_us, is_told=is_told, **asked) is decided
