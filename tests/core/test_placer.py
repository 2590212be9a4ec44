"""The placer never overfills a host, refuses only what fits nowhere, and what it keeps equals what is."""

import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.placement.fgd import Fgd, typical_types
from kumoi.core.placement.host_table import HostTable
from kumoi.core.placement.placer import NEVER, Placer
from kumoi.core.placement.policies import PlainPolicy, Scorer
from kumoi.core.placement.registry import POLICY_NAMES, policy_new
from kumoi.core.placement.shapes import WHOLE_MILLI, HostShape, Shape, is_partition

MODELS = ("A", "B", "B/1g")
SOME = settings(max_examples=60, deadline=None)

hosts = st.builds(
    HostShape,
    cpu_milli=st.sampled_from((4_000, 8_000, 16_000)),
    memory_bytes=st.integers(4, 16),
    disk_bytes=st.integers(0, 4),
    slot_models=st.one_of(
        st.tuples(st.sampled_from(MODELS), st.integers(0, 4)).map(lambda pair: (pair[0],) * pair[1]),
        st.lists(st.sampled_from(MODELS), max_size=4).map(tuple),
    ),
)
_models = st.one_of(st.none(), st.frozensets(st.sampled_from(MODELS), min_size=1))
shapes = st.one_of(
    st.builds(Shape, st.integers(0, 6).map(lambda n: n * 1_000), st.integers(0, 6), st.integers(0, 1)),
    st.builds(
        Shape,
        st.sampled_from((1_000, 3_000)),
        st.integers(0, 4),
        gpu_count=st.integers(1, 3),
        models=_models,
    ),
    st.builds(
        Shape,
        st.sampled_from((1_000, 2_000)),
        st.integers(0, 4),
        gpu_count=st.just(1),
        gpu_milli=st.sampled_from((100, 250, 400, 500, 750)),
        models=_models,
    ),
)


class Held(PlainPolicy):
    """A policy that stays with one scorer."""

    def __init__(self, held: Scorer) -> None:
        self.held = held

    def scorer(self) -> Scorer:
        return self.held


@dataclass
class Plain:
    """One host as plain numbers: what the arrays are held against."""

    host: HostShape
    is_open: bool = True
    healthy: list[bool] = field(default_factory=list)
    tasks: list[tuple[Shape, tuple[int, ...]]] = field(default_factory=list)

    def slots_free(self) -> list[int]:
        """Milli left in each slot."""
        free = [WHOLE_MILLI] * len(self.host.slot_models)
        for shape, slots in self.tasks:
            for slot in slots:
                free[slot] -= shape.gpu_milli
        return [left if good else 0 for left, good in zip(free, self.healthy, strict=True)]

    def fits(self, shape: Shape) -> bool:
        """Whether the shape fits, one number at a time."""
        usable = 0
        for model, left in zip(self.host.slot_models, self.slots_free(), strict=True):
            allowed = not is_partition(model) if shape.models is None else model in shape.models
            usable += allowed and left >= shape.gpu_milli
        return (
            self.is_open
            and usable >= shape.gpu_count
            and sum(task.cpu_milli for task, _ in self.tasks) + shape.cpu_milli <= self.host.cpu_milli
            and sum(task.memory_bytes for task, _ in self.tasks) + shape.memory_bytes
            <= self.host.memory_bytes
            and (
                not shape.disk_bytes
                or sum(task.disk_bytes for task, _ in self.tasks) + shape.disk_bytes <= self.host.disk_bytes
            )
        )

    def check(self, shape: Shape, slots: tuple[int, ...]) -> None:
        """That a placement was allowed."""
        assert self.fits(shape)
        assert len(set(slots)) == len(slots) == shape.gpu_count
        for slot in slots:
            model = self.host.slot_models[slot]
            assert self.slots_free()[slot] >= shape.gpu_milli
            assert not is_partition(model) if shape.models is None else model in shape.models


class World:
    """A placer and the plain hosts beside it."""

    def __init__(self, found: list[HostShape], policy: str, **limits: int) -> None:
        self.table = HostTable(found, log_length=8)
        self.policy = policy_new(policy, self.table)
        self.held = Held(self.policy.scorer())
        self.placer = Placer(self.table, self.held, **limits)
        self.plain = [Plain(host, healthy=[True] * len(host.slot_models)) for host in found]

    def place(self, shape: Shape) -> int | None:
        """Place one task, and check that it is right to."""
        self.policy.learn(shape)
        row = self.placer.choose(shape)
        if row is None:
            assert not any(host.fits(shape) for host in self.plain)
            return None
        slots = self.placer.take(row, shape)
        self.plain[row].check(shape, slots)
        self.plain[row].tasks.append((shape, slots))
        return row

    def costs(self, shape: Shape) -> list[int]:
        """All hosts scored at once."""
        rows = np.array([row for row, host in enumerate(self.plain) if host.fits(shape)], np.intp)
        costs = np.full(len(self.plain), NEVER)
        costs[rows] = self.held.scorer().costs(shape, rows) if rows.size else []
        return [int(cost) for cost in costs]

    def refresh(self) -> None:
        """Let the policy conclude."""
        self.policy.refresh()
        self.held.held = self.policy.scorer()
        self.placer.refresh()

    def change(self, data: st.DataObject) -> None:
        """Something else happens to a host."""
        kind = data.draw(st.sampled_from(("give_back", "append", "open", "put", "health", "refresh")))
        if kind == "refresh":
            self.refresh()
            return
        if kind == "append":
            host = data.draw(hosts)
            assert self.table.row_append(host) == len(self.plain)
            self.plain.append(Plain(host, healthy=[True] * len(host.slot_models)))
            return
        row = data.draw(st.integers(0, len(self.plain) - 1))
        plain = self.plain[row]
        if kind == "give_back" and plain.tasks:
            shape, slots = plain.tasks.pop(data.draw(st.integers(0, len(plain.tasks) - 1)))
            self.placer.give_back(row, shape, slots)
        elif kind == "open":
            plain.is_open = not plain.is_open
            self.table.row_open(row, plain.is_open)
        elif kind == "health":
            plain.healthy = data.draw(
                st.lists(st.booleans(), min_size=len(plain.healthy), max_size=len(plain.healthy))
            )
            self.table.slots_health(row, plain.healthy)
        elif kind == "put":
            plain.host = HostShape(
                data.draw(st.integers(0, 16)) * 1_000,
                data.draw(st.integers(0, 16)),
                data.draw(st.integers(0, 4)),
                plain.host.slot_models,
            )
            self.table.row_put(row, plain.host)


@SOME
@given(st.lists(hosts, min_size=1, max_size=6), st.sampled_from(POLICY_NAMES), st.data())
def test_kept_costs_are_those_of_a_fresh_placer_after_any_changes(
    found: list[HostShape], policy: str, data: st.DataObject
) -> None:
    world = World(found, policy)
    asked = data.draw(st.lists(shapes, min_size=1, max_size=4))
    for _ in range(data.draw(st.integers(1, 25))):
        if data.draw(st.booleans()):
            world.place(data.draw(st.sampled_from(asked)))
        else:
            world.change(data)
        shape = data.draw(st.sampled_from(asked))
        costs = world.placer.costs(shape)
        assert costs.tolist() == world.costs(shape)
        assert costs.tolist() == Placer(world.table, world.held).costs(shape).tolist()
        assert world.placer.choose(shape) == (int(costs.argmin()) if costs.min() != NEVER else None)


@SOME
@given(st.lists(hosts, min_size=3, max_size=9), st.sampled_from(POLICY_NAMES), st.data())
def test_a_refresh_is_taken_up_step_by_step(found: list[HostShape], policy: str, data: st.DataObject) -> None:
    world = World(found, policy, step_rows=2)
    asked = data.draw(st.lists(shapes, min_size=1, max_size=3))
    for _ in range(3):
        for shape in data.draw(st.lists(st.sampled_from(asked), max_size=8)):
            world.place(shape)
        shape = asked[0]
        world.placer.costs(shape)
        before = world.costs(shape)
        world.refresh()
        after = world.costs(shape)
        steps = -(-len(found) // 2)
        for _ in range(steps - 1):
            assert world.placer.costs(shape).tolist() == before
        assert world.placer.costs(shape).tolist() == after


@SOME
@given(st.lists(hosts, min_size=1, max_size=6), st.sampled_from(POLICY_NAMES), st.lists(shapes, max_size=30))
def test_the_same_calls_give_the_same_answers(
    found: list[HostShape], policy: str, asked: list[Shape]
) -> None:
    few = World(found, policy, shapes_bytes=1)
    many = World(found, policy)
    assert [few.place(shape) for shape in asked] == [many.place(shape) for shape in asked]


@SOME
@given(st.lists(hosts, min_size=1, max_size=6), st.sampled_from(POLICY_NAMES), shapes, st.data())
def test_a_mask_limits_the_choice(
    found: list[HostShape], policy: str, shape: Shape, data: st.DataObject
) -> None:
    world = World(found, policy)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))))
    ranked = sorted(
        (int(cost), row)
        for row, cost in enumerate(world.placer.costs(shape))
        if cost != NEVER and allowed[row]
    )
    assert world.placer.choose(shape, allowed) == (ranked[0][1] if ranked else None)
    assert world.placer.best(shape, 3, allowed) == [(row, cost) for cost, row in ranked[:3]]
    assert world.placer.best(shape, 0, allowed) == [(row, cost) for cost, row in ranked]
    assert world.placer.candidates(shape, allowed) == len(ranked)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_many_blocks_of_hosts_give_the_least_cost_of_all(policy: str) -> None:
    """The bounds kept for each block of hosts lead to the row that a look at every cost finds."""
    draw = random.Random(7)
    made = [HostShape(16_000, 64, 0, ("A",) * draw.choice((0, 2, 4))) for _ in range(1_200)]
    table = HostTable(made)
    placer = Placer(table, policy_new(policy, table))
    asked = [
        Shape(1_000, 1),
        Shape(16_000, 40),
        Shape(2_000, 4, gpu_count=1, gpu_milli=300),
        Shape(2_000, 4, gpu_count=1, gpu_milli=700),
        Shape(4_000, 8, gpu_count=4),
    ]
    placed: list[tuple[int, Shape, tuple[int, ...]]] = []
    refused = 0
    for step in range(9_000):
        shape = draw.choice(asked)
        placer.learn(shape)
        row = placer.choose(shape)
        costs = placer.costs(shape)
        least = int(costs.argmin())
        assert row == (least if costs[least] != NEVER else None)
        if row is not None:
            placed.append((row, shape, placer.take(row, shape)))
        refused += row is None
        if placed and draw.random() < (0.05 if step < 6_000 else 0.9):
            placer.give_back(*placed.pop(draw.randrange(len(placed))))
        if step == 3_000:
            for _ in range(600):
                table.row_append(HostShape(32_000, 64, 0, ("B",) * 4))
        if placer.refresh_due():
            placer.refresh()
    assert refused


def test_equal_hosts_are_taken_in_order() -> None:
    for policy in POLICY_NAMES:
        table = HostTable([HostShape(1_000, 1, 0, ("A",))] * 3)
        placer = Placer(table, policy_new(policy, table))
        shape = Shape(1_000, 1, gpu_count=1)
        rows = []
        for _ in range(3):
            row = placer.choose(shape)
            assert row is not None
            placer.take(row, shape)
            rows.append(row)
        assert rows == [0, 1, 2]
        assert placer.choose(shape) is None


def test_an_overfull_take_changes_nothing() -> None:
    table = HostTable([HostShape(2_000, 2, 0, ("A", "A"))])
    table.take(0, Shape(1_000, 1, gpu_count=1, gpu_milli=600), (0,))
    changes = table.changes
    for shape, slots in (
        (Shape(1_000, 1, gpu_count=1, gpu_milli=500), (0,)),
        (Shape(1_000, 1, gpu_count=2), (0, 1)),
        (Shape(1_000, 1, gpu_count=2), (1, 1)),
        (Shape(1_000, 1, gpu_count=1), ()),
        (Shape(1_001, 1), ()),
        (Shape(1_000, 2), ()),
        (Shape(1_000, 1, 1), ()),
    ):
        with pytest.raises(ValueError, match="no room"):
            table.take(0, shape, slots)
    assert table.changes == changes
    assert table.slot_free.tolist() == [[400, 1_000]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_milli": -1},
        {"gpu_count": -1},
        {"gpu_count": 1, "gpu_milli": 0},
        {"gpu_count": 1, "gpu_milli": 1_001},
        {"gpu_count": 2, "gpu_milli": 500},
    ],
)
def test_shapes_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Shape(**{"cpu_milli": 1, "memory_bytes": 1, **wrong})


def _fragmentation(table: HostTable, row: int, types: dict[Shape, int]) -> float:
    """As the paper puts it: one host, one type at a time."""
    free = [int(left) for left in table.slot_free[row]]
    amount = 0.0
    for shape, count in types.items():
        model = (*table.models, "")[int(table.host_model[row]) - 1]
        runs = (
            shape.gpu_count > 0
            and shape.cpu_milli <= table.cpu_free[row]
            and sum(left >= shape.gpu_milli for left in free) >= shape.gpu_count
            and (shape.models is None or model in shape.models)
        )
        unusable = sum(left for left in free if not runs or left < shape.gpu_milli)
        amount += count * unusable / sum(types.values())
    return amount


@SOME
@given(st.lists(hosts, min_size=1, max_size=4), st.lists(shapes, min_size=1, max_size=40))
def test_fgd_scores_as_the_paper_defines(found: list[HostShape], asked: list[Shape]) -> None:
    uniform = [host for host in found if len(set(host.slot_models)) == 1 and "/" not in host.slot_models[0]]
    table = HostTable(uniform)
    counts = Counter(asked)
    placer = Placer(table, Fgd(table, counts))
    types = typical_types(counts)
    for shape in asked:
        row = placer.choose(shape)
        if row is None:
            continue
        for other, cost in placer.best(shape, len(uniform)):
            growths = []
            before = _fragmentation(table, other, types)
            open_slots = table.slots_open(other, shape)
            choices = (
                [(slot,) for slot in open_slots]
                if shape.is_shared
                else [tuple(open_slots[: shape.gpu_count])]
            )
            for slots in choices:
                table.take(other, shape, slots)
                growths.append(_fragmentation(table, other, types) - before)
                table.give_back(other, shape, slots)
            score = 100 / (1 + np.exp(min(growths) / 1_000))
            assert 100 - cost == pytest.approx(np.floor(score + 1e-9))
        placer.take(row, shape)


def test_typical_types_are_the_most_frequent_that_make_up_95_percent() -> None:
    often, seldom, rare = (Shape(cpu, 1, gpu_count=1) for cpu in (1, 2, 3))
    other_memory = Shape(1, 2, gpu_count=1)
    typical = typical_types({often: 50, other_memory: 40, seldom: 6, rare: 4})
    assert typical == {Shape(1, 0, gpu_count=1): 90, Shape(2, 0, gpu_count=1): 6}


def test_fgd_learns_from_arrivals() -> None:
    table = HostTable([HostShape(8_000, 8, 0, ("A",)), HostShape(8_000, 8, 0, ("A", "A"))])
    policy = Fgd(table)
    placer = Placer(table, policy)
    asked = Shape(1_000, 1, gpu_count=1, gpu_milli=500)
    assert placer.choose(asked) == 0
    for _ in range(500):
        placer.learn(Shape(1_000, 1, gpu_count=2))
    assert placer.refresh_due()
    placer.refresh()
    assert not placer.refresh_due()
    table.take(1, asked, (0,))
    assert placer.best(asked, 2) == [(0, 38), (1, 38)]
