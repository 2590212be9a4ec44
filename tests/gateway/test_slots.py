"""Slots against a naive model, and routes by longest prefix."""

from gateway_world import service_route
from hypothesis import given
from hypothesis import strategies as st

from kumoi.gateway.routing import Router
from kumoi.gateway.slots import Slots

steps = st.lists(
    st.tuples(st.sampled_from(["take", "give", "join", "leave"]), st.integers(0, 4)), max_size=60
)


@given(st.integers(1, 3), steps)
def test_the_least_loaded_is_taken_and_none_gets_more_than_its_limit(
    limit: int, happened: list[tuple[str, int]]
) -> None:
    slots: Slots[int] = Slots(limit)
    loads: dict[int, int] = {}
    for what, member in happened:
        if what == "join" and member not in loads:
            loads[member] = 0
            slots.join(member, 0)
        elif what == "leave":
            loads.pop(member, None)
            slots.leave(member)
        elif what == "give" and loads.get(member):
            loads[member] -= 1
            slots.give(member)
        elif what == "take":
            taken = slots.take()
            least = min(loads.values(), default=limit)
            if least >= limit:
                assert taken is None
            else:
                assert taken is not None
                assert loads[taken] == least
                loads[taken] += 1
        assert len(slots) == len(loads)


def test_equally_loaded_members_take_turns() -> None:
    slots: Slots[str] = Slots(1)
    for member in "abc":
        slots.join(member, 0)
    taken = []
    for _ in range(6):
        member = slots.take()
        assert member is not None
        taken.append(member)
        slots.give(member)
    assert sorted(taken[:3]) == ["a", "b", "c"]
    assert taken[:3] == taken[3:]


def test_a_member_may_join_with_more_than_the_limit() -> None:
    slots: Slots[str] = Slots(2)
    slots.join("a", 5)
    assert slots.take() is None
    for _ in range(4):
        slots.give("a")
    assert slots.take() == "a"


def test_longer_paths_come_before_shorter_ones_and_any_host_before_a_named_one() -> None:
    router = Router(
        [
            service_route("svc_ab", path="/a/b", strip_path=True),
            service_route("svc_a", path="/a/", strip_path=False),
            service_route("svc_host", hosts=("h.example",), path="/", strip_path=True),
            service_route("svc_deep", hosts=("h.example",), path="/a/b/c", strip_path=True),
            service_route("svc_own", hosts=("h.example",), path="/own", strip_path=True),
        ]
    )

    def at(host: str, path: bytes) -> tuple[str, bytes]:
        found = router.find(host, path)
        assert found is not None
        return found[0].id, found[1]

    assert at("x", b"/a/b/c") == ("svc_ab", b"/c")
    assert at("x", b"/a/b") == ("svc_ab", b"/")
    assert at("x", b"/a/bc") == ("svc_a", b"/a/bc")
    assert at("x", b"/a") == ("svc_a", b"/a")
    assert at("h.example", b"/a/b/c") == ("svc_ab", b"/c")
    assert at("h.example", b"/ab") == ("svc_host", b"/ab")
    assert at("h.example", b"/own/x") == ("svc_own", b"/x")
    assert router.find("x", b"/ab") is None
    assert Router([service_route("svc_a", path="/a")]).find("x", b"/") is None
