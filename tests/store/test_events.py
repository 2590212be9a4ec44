"""Events as they are written: canonical, ordered, and read by their organization only."""

from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from region_rows import RegionRows

from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.events import event_get, event_list, event_list_logged, event_row
from kumoi.store.writer import Change

T0_US = 1_700_000_000_000_000
SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
DETAILS = st.dictionaries(
    KEYS,
    st.recursive(
        st.none() | st.booleans() | SAFE_INTEGERS | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def row(action: str, organization: str, **more: Any) -> dict[str, Any]:
    return event_row(action, at_us=T0_US, actor="usr_1", resource="thing", organization=organization, **more)


@given(detail=DETAILS)
def test_the_text_is_the_canonical_form_of_rfc_8785(detail: dict[str, Any]) -> None:
    made = row("act", "org_1", project="prj_1", detail=detail)
    body = {
        "id": made["id"],
        "at": "2023-11-14T22:13:20.000000Z",
        "actor": "usr_1",
        "action": "act",
        "resource": "thing",
        "outcome": "done",
        "organization": "org_1",
        "project": "prj_1",
        "detail": detail,
    }
    assert made["canonical"].encode() == rfc8785.dumps(body)


def test_salts_are_never_used_twice() -> None:
    salts = {row("act", "org_1")["salt"] for _ in range(100)}
    assert (len(salts), {len(salt) for salt in salts}) == (100, {32})


def write(store: Store, *rows: dict[str, Any]) -> None:
    store.commit_wait(Change([(schema.events, rows)]))


def test_lists_are_of_one_organization_and_newest_first(store: Store, region: RegionRows) -> None:
    one, two = region.organizations["one"], region.organizations["two"]
    mine = [row(f"act-{number}", one) for number in range(5)]
    write(store, mine[0], row("theirs", two), *mine[1:])
    first = store.read_wait(event_list, one, 3, None)
    second = store.read_wait(event_list, one, 3, first[-1].id)
    assert [event.action for event in (*first, *second)] == [f"act-{n}" for n in (4, 3, 2, 1, 0)]


def test_logged_events_come_in_the_order_of_the_log(store: Store, region: RegionRows) -> None:
    one, two = region.organizations["one"], region.organizations["two"]
    rows = [row(f"act-{number}", one) for number in range(4)]
    for made, place in zip(rows, (7, 3, None, 5), strict=True):
        made["log_index"] = place
    write(store, *rows, row("theirs", two) | {"log_index": 4})
    assert [event.log_index for event in store.read_wait(event_list_logged, one, -1, 10)] == [3, 5, 7]
    assert [event.log_index for event in store.read_wait(event_list_logged, one, 3, 1)] == [5]
    assert store.read_wait(event_list_logged, one, 7, 10) == []


def test_one_event_by_its_id(store: Store, region: RegionRows) -> None:
    made = row("act", region.organizations["one"], detail={"ü": "値"})
    write(store, made)
    found = store.read_wait(event_get, made["id"])
    assert found is not None
    assert (found.canonical, found.salt) == (made["canonical"], made["salt"])
    assert store.read_wait(event_get, "evt_absent") is None
