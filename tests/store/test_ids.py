"""Identifiers: UUIDv7 in order, unique across threads, with their kind and cell."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.model.ids import IdKind, id_is
from kumoi.store import ids
from kumoi.store.ids import id_new, ids_new


def raw(identifier: str) -> bytes:
    return base64.b32hexdecode(identifier.partition("_")[2].upper() + "======")


@given(st.sampled_from(IdKind), st.integers(1, 300), st.integers(0, 65_535))
def test_identifiers_are_well_formed_and_in_order(kind: IdKind, count: int, cell: int) -> None:
    made = ids_new(kind, count, cell)
    assert len(set(made)) == count
    assert made == sorted(made)
    for identifier in made:
        assert id_is(kind, identifier)
        value = raw(identifier)
        assert (value[6] >> 4, value[8] >> 6) == (7, 2), "version and variant of UUIDv7"
        assert int.from_bytes(value[14:], "big") == cell


def test_an_identifier_tells_when_it_was_made() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = raw(id_new(IdKind.JOB))
    made_ms = int.from_bytes(made[:6], "big")
    assert before_ms <= made_ms <= time.time_ns() // 1_000_000 + 1_000


def test_later_calls_give_later_identifiers_whatever_the_kind() -> None:
    made = [id_new(kind) for _ in range(100) for kind in (IdKind.JOB, IdKind.EVENT)]
    values = [raw(identifier) for identifier in made]
    assert values == sorted(values)


def test_identifiers_keep_their_order_when_the_clock_stands_still_or_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = time.time_ns()
    made = []
    for moved_ns in (0, 0, -5_000_000_000, 1, -1):
        monkeypatch.setattr(ids.time, "time_ns", lambda moved_ns=moved_ns: now_ns + moved_ns)
        made += ids_new(IdKind.TASK, 10)
    assert made == sorted(made)
    assert len(set(made)) == 50


def test_threads_get_different_identifiers_each_in_order() -> None:
    def make(_: int) -> list[str]:
        return [identifier for _ in range(200) for identifier in ids_new(IdKind.EVENT, 7)]

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    assert all(one == sorted(one) for one in made)
    assert len({identifier for one in made for identifier in one}) == 8 * 200 * 7
