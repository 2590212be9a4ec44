"""What a plan was decided on, packed and digested, leads to the same plan again."""

import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_pools import NOW_US, holds, host_views, hosts, pool_views, tasks

from kumoi.core.placement import fgd, mix, snapshot
from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.registry import POLICY_NAMES
from kumoi.core.placement.replay import replay
from kumoi.core.placement.snapshot import (
    DeviceView,
    Hold,
    Holding,
    HostView,
    Inputs,
    Plan,
    PoolView,
    ReplayError,
    TaskView,
    Window,
    inputs_digest,
    inputs_pack,
    inputs_unpack,
)
from kumoi.model.jobs import DeviceRequest, GangScope, SpreadOver

SOME = settings(max_examples=60, deadline=None)


@st.composite
def chains(draw: st.DrawFn, policy: str) -> tuple[tuple[Inputs, ...], tuple[Plan, ...]]:
    """What was recorded of a pool that changes, and the plans of the placer that followed it."""
    pool, base = draw(pool_views), draw(hosts())
    placer = PoolPlacer(pool, policy)
    placer.hosts_put(base)
    recorded, decided, learned = [], [], b""
    for number in range(draw(st.integers(1, 4))):
        numbers = draw(st.lists(st.integers(0, 4), max_size=3, unique=True)) if number else []
        changed = tuple(draw(host_views(host)) for host in numbers)
        gone = tuple(draw(st.lists(st.sampled_from(("host_0", "host_4")), unique=True))) if number else ()
        placer.hosts_put(changed)
        placer.hosts_remove(gone)
        waiting = draw(tasks())
        placer.learn(waiting)
        kept = tuple(draw(st.lists(holds(), max_size=1)))
        inputs = Inputs(
            pool=pool,
            base=None if number else base,
            changed=changed,
            gone=gone,
            tasks=waiting,
            holds=kept,
            policy=policy,
            learned=placer.learned() if number == 0 or placer.learned() != learned else None,
            now_us=NOW_US,
            seed=number,
        )
        learned = placer.learned()
        recorded.append(inputs)
        decided.append(Plan(policy, number, NOW_US, *placer.place(waiting, NOW_US, kept)))
    return tuple(recorded), tuple(decided)


@SOME
@given(st.sampled_from(POLICY_NAMES), st.data())
def test_every_plan_of_a_chain_is_decided_again_from_what_was_kept(policy: str, data: st.DataObject) -> None:
    with patch.object(fgd, "REFRESH_ARRIVALS", 3), patch.object(mix, "FIRST_ARRIVALS", 3):
        recorded, decided = data.draw(chains(policy))
    digest = ""
    for number, plan in enumerate(decided):
        digest = inputs_digest(digest, recorded[number])
        kept = [inputs_unpack(inputs_pack(inputs)) for inputs in recorded[: number + 1]]
        assert replay(kept) == (plan, digest)


HOLDING = Holding("att_1", "job_1", "org_a", 1, 1, 1, (("dev_1", 500),), 1, 2)
HOST = HostView(
    "host_1",
    "name",
    1,
    4_000,
    4,
    4,
    (DeviceView("dev_1", "gpu", "h200"),),
    (HOLDING,),
    windows=(Window("spring", "org_a", 1, 2),),
)
TASK = TaskView(
    "task_1",
    "job_1",
    "org_a",
    1,
    1,
    devices=(DeviceRequest("gpu", 1, ("h200",)),),
    gang_within=GangScope.HOST,
    spread_over=SpreadOver.HOST,
)
INPUTS = Inputs(
    PoolView("pool_1"),
    (HOST,),
    (HOST,),
    ("host_2",),
    (TASK,),
    (Hold("job_1", ("host_1",), 1, 2),),
    "fgd",
    b"learned",
    NOW_US,
    1,
)


def others(value: Any) -> Iterator[Any]:
    """Values that differ from one in one place, for every place there is."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, GangScope):
        yield GangScope.SITE
    elif isinstance(value, SpreadOver):
        yield SpreadOver.FAILURE_DOMAIN
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, str):
        yield f"{value}!"
    elif isinstance(value, bytes):
        yield value + b"!"
    elif isinstance(value, tuple):
        yield value[1:]
        for index, one in enumerate(value):
            yield from ((*value[:index], other, *value[index + 1 :]) for other in others(one))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for other in others(getattr(value, field.name)):
                yield replace(value, **{field.name: other})
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from (
                msgspec.structs.replace(value, **{name: other}) for other in others(getattr(value, name))
            )
    if value is not None:
        yield None


def test_a_digest_tells_of_every_part_of_what_was_decided_on() -> None:
    digest = inputs_digest("", INPUTS)
    different = [other for other in others(INPUTS) if other is not None and other != INPUTS]
    digests = [inputs_digest("", other) for other in different]
    assert len(different) > 150
    assert digest not in digests
    assert len(set(digests)) == len({inputs_pack(other) for other in different})
    assert inputs_digest(digest, INPUTS) != digest
    assert inputs_digest("", inputs_unpack(inputs_pack(INPUTS))) == digest


@SOME
@given(hosts(), tasks())
def test_what_is_unpacked_is_what_was_packed(
    views: tuple[HostView, ...], waiting: tuple[TaskView, ...]
) -> None:
    inputs = replace(INPUTS, base=views, changed=views, tasks=waiting)
    assert inputs_unpack(inputs_pack(inputs)) == inputs
    assert inputs_pack(inputs_unpack(inputs_pack(inputs))) == inputs_pack(inputs)


PACKED = inputs_pack(INPUTS)


@pytest.mark.parametrize(
    "wrong",
    [b"", b"nothing", PACKED[:-9], PACKED[:20], zlib.compress(b"\x80"), zlib.compress(b"\xc1" * 9)],
)
def test_bytes_that_are_no_inputs_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="inputs of a plan"):
        inputs_unpack(wrong)


def test_a_chain_begins_with_a_base() -> None:
    later = replace(INPUTS, base=None, learned=None)
    with pytest.raises(ReplayError, match="no inputs"):
        replay([])
    with pytest.raises(ReplayError, match="do not begin with a base"):
        replay([later])


def test_a_second_base_begins_again() -> None:
    first = replace(INPUTS, policy="pack", learned=b"", holds=(), gone=(), changed=())
    second = replace(first, base=(replace(HOST, id="host_9", holdings=(), windows=()),))
    again, digest = replay([first, second])
    assert digest == inputs_digest("", second)
    assert (again, digest) == replay([second])
    assert [one.host_id for one in again.placed] == ["host_9"]


def test_inputs_that_unfold_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "INPUTS_BYTES_MAX", 20)
    with pytest.raises(ValueError, match="more than 20 bytes"):
        inputs_unpack(PACKED)
