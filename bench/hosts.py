"""Hosts that follow demand: what they cost beside a clairvoyant's, and who waits for them, by policy.

Replays how many replicas were wanted second by second. A host holds `--slots` of them, boots 60 s or 180 s,
and is paid for from the moment it is asked for. A replica that is wanted takes a free slot or waits for one;
when fewer are wanted, those that came last and still wait go first. A replica that started later than LATE_S
after it was wanted has waited; one that was not wanted any more before it could start is counted apart
(`given_up`). The reference knows the future: it pays for every host while it is needed, and between two needs
for the gap or for a boot, whichever is less.
"""

import gzip
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from report import Figure, Report, arguments_make, machine_describe, report_print, say
from svg import Axis, Line, chart

from kumoi.core.autoscale.hosts import hosts_decide
from kumoi.core.autoscale.hosts_inputs import HostPhase, HostRules, HostsSeen, HostsState, PoolHost
from kumoi.model.time import US_PER_S

BOOTS_S = (60, 180)
LATE_S = 5
GOALS = {60: (1.10, 0.0105), 180: (1.05, 0.0056)}
"""Cost over the reference and share of replicas that waited, by boot time."""
SWEEP_HEADROOM = (0, 2, 4, 6, 8, 12, 16)
SWEEP_HOLD_S = (120, 180, 240, 300, 420, 600)


@dataclass(slots=True)
class Machine:
    """A host of the simulation. `idle_s` is since when it is empty (or, to one policy, hardly used)."""

    id: str
    asked_s: int
    ready_s: int
    used: int = 0
    idle_s: int | None = None


@dataclass(slots=True)
class Outcome:
    """What a policy cost and who waited, after the warm-up. Host seconds and replicas."""

    host_s: int = 0
    starts: int = 0
    waited: int = 0
    given_up: int = 0
    waits_s: int = 0
    evictions: int = 0
    asked: int = 0
    hosts: list[int] = field(default_factory=list)


class Cluster:
    """Hosts, and replicas on them or waiting. What it does to replicas is the same for every policy."""

    def __init__(
        self, slots: int, boot_s: int, from_s: int, first: int, choose: random.Random | None
    ) -> None:
        self.slots, self.boot_s, self.from_s = slots, boot_s, from_s
        self.machines: list[Machine] = []
        self.waiting: deque[int] = deque()
        self.outcome = Outcome()
        self._choose, self._number, self._wanted = choose, 0, first
        left = first
        while left > 0:
            machine = self.ask(-boot_s)
            machine.used = min(slots, left)
            left -= machine.used

    def ask(self, now_s: int) -> Machine:
        """A host is asked for."""
        self._number += 1
        machine = Machine(f"{self._number:07}", now_s, now_s + self.boot_s)
        self.machines.append(machine)
        self.outcome.asked += now_s >= self.from_s
        return machine

    def follow(self, now_s: int, wanted: int) -> None:
        """Replicas come and go, and who waits takes what is free, on the fullest host."""
        for _ in range(wanted - self._wanted):
            self.waiting.append(now_s)
        self.outcome.starts += max(0, wanted - self._wanted) * (now_s >= self.from_s)
        for _ in range(self._wanted - wanted):
            if self.waiting:
                since_s = self.waiting.pop()
                self.outcome.given_up += since_s >= self.from_s and now_s - since_s > LATE_S
            else:
                self._lose(now_s)
        self._wanted = wanted
        while self.waiting and self.place(now_s):
            since_s = self.waiting.popleft()
            if since_s >= self.from_s:
                self.outcome.waited += now_s - since_s > LATE_S
                self.outcome.waits_s += now_s - since_s

    def place(self, now_s: int) -> bool:
        """One replica takes a slot; whether there is one."""
        free = [m for m in self.machines if m.ready_s <= now_s and m.used < self.slots]
        if not free:
            return False
        max(free, key=lambda m: m.used).used += 1
        return True

    def pay(self, now_s: int) -> None:
        """Another second of every host."""
        if now_s >= self.from_s:
            self.outcome.host_s += len(self.machines)
            self.outcome.hosts.append(len(self.machines))

    def _lose(self, now_s: int) -> None:
        used = [m for m in self.machines if m.used]
        machine = self._choose.choice(used) if self._choose else min(reversed(used), key=lambda m: m.used)
        machine.used -= 1
        if not machine.used and self._choose is None:
            machine.idle_s = now_s


Control = Callable[[Cluster, int], None]


def kumoi_control(rules: HostRules) -> Control:
    """The product's decision, once a second."""
    state = HostsState()

    def control(cluster: Cluster, now_s: int) -> None:
        nonlocal state
        hosts = tuple(_seen(machine, now_s) for machine in cluster.machines)
        decision = hosts_decide(rules, state, HostsSeen(now_s * US_PER_S, hosts, len(cluster.waiting)))
        state = decision.state
        if decision.release:
            gone = set(decision.release)
            cluster.outcome.evictions += sum(m.used for m in cluster.machines if m.id in gone)
            cluster.machines = [m for m in cluster.machines if m.id not in gone]
        for _ in range(decision.ask):
            cluster.ask(now_s)

    return control


def _seen(machine: Machine, now_s: int) -> PoolHost:
    phase = HostPhase.READY if machine.ready_s <= now_s else HostPhase.BOOTING
    since_s = machine.asked_s if machine.idle_s is None else machine.idle_s
    return PoolHost(machine.id, phase, since_s * US_PER_S, machine.used, machine.used > 0)


def cluster_autoscaler(cluster: Cluster, now_s: int) -> None:
    """Kubernetes' Cluster Autoscaler with its defaults.

    A host for what waits beyond what boots, at once; every 10 s a host goes that was under 50 % used for
    10 minutes (a new one since it was asked for), with room elsewhere for what it holds: that is evicted.
    """
    booting = sum(m.ready_s > now_s for m in cluster.machines)
    for _ in range(-(-len(cluster.waiting) // cluster.slots) - booting):
        cluster.ask(now_s)
    if now_s % 10:
        return
    ready = sorted((m for m in cluster.machines if m.ready_s <= now_s), key=lambda m: m.used)
    room = sum(cluster.slots - m.used for m in ready)
    for machine in ready:
        elsewhere = room - (cluster.slots - machine.used)
        if 2 * machine.used >= cluster.slots or elsewhere < machine.used or cluster.waiting:
            machine.idle_s = None
            continue
        if machine.idle_s is None:
            machine.idle_s = machine.asked_s if now_s - machine.ready_s < 10 else now_s
        room = elsewhere - machine.used
        if now_s - machine.idle_s >= 600:
            cluster.machines.remove(machine)
            cluster.outcome.evictions += machine.used
            for _ in range(machine.used):
                cluster.place(now_s)


def policies(slots: int, boot_s: int, seed: int) -> Iterator[tuple[str, Control, random.Random | None]]:
    """Every policy: name, control, and what chooses the replicas that go (None: the emptiest host's)."""
    most = 1_000_000
    yield "kumoi", kumoi_control(HostRules(slots, boot_s, hosts_max=most)), None
    hold = HostRules(slots, boot_s, hosts_max=most, headroom_slots=0, patience_s=0, hold_s=300)
    yield "hold_300", kumoi_control(hold), None
    yield "cluster_autoscaler", cluster_autoscaler, random.Random(seed)


def simulate(
    wanted: Sequence[int],
    slots: int,
    boot_s: int,
    from_s: int,
    control: Control,
    choose: random.Random | None,
) -> Outcome:
    """One policy over the whole time."""
    cluster = Cluster(slots, boot_s, from_s, wanted[0], choose)
    for now_s, replicas in enumerate(wanted):
        cluster.follow(now_s, replicas)
        control(cluster, now_s)
        cluster.pay(now_s)
    return cluster.outcome


def reference_cost(wanted: Sequence[int], slots: int, boot_s: int, from_s: int) -> int:
    """Host seconds of who knows the future and lets nobody wait."""
    needed = [-(-replicas // slots) for replicas in wanted]
    last: list[int] = [-1] * (max(needed) + 1)
    cost = 0
    for now_s, hosts in enumerate(needed):
        cost += hosts if now_s >= from_s else 0
        for layer in range(1, hosts + 1):
            gap_s = now_s - last[layer] - 1
            if last[layer] >= 0 and gap_s and now_s >= from_s:
                cost += min(gap_s, boot_s, now_s - from_s) if gap_s <= boot_s else boot_s
            last[layer] = now_s
    return cost


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, measure, print; 2 if the arguments make no sense."""
    parser = arguments_make("Cost and waiting of hosts that follow demand, by policy and boot time.")
    parser.add_argument(
        "--wanted", type=Path, required=True, help="replicas wanted, one second a line (.gz too)"
    )
    parser.add_argument("--slots", type=int, default=8, help="replicas that a host holds")
    parser.add_argument("--warm-up", type=int, default=6 * 3_600, help="seconds at the start not measured")
    parser.add_argument("--chart", type=Path, help="where the chart of cost against waiting goes, as SVG")
    options = parser.parse_args(arguments)
    try:
        wanted = wanted_read(options.wanted)
    except (OSError, EOFError, ValueError) as error:
        print(f"hosts: {options.wanted} cannot be read as whole numbers: {error}", file=sys.stderr)
        return 2
    if options.slots < 1 or not 0 <= options.warm_up < len(wanted):
        print("hosts: give at least one slot, and a warm-up shorter than the file", file=sys.stderr)
        return 2
    machine = machine_describe()
    figures: list[Figure] = []
    outcomes: dict[tuple[str, int], Outcome] = {}
    for boot_s in BOOTS_S:
        reference = reference_cost(wanted, options.slots, boot_s, options.warm_up)
        for name, control, choose in policies(options.slots, boot_s, options.seed):
            say(f"{name}: {len(wanted)} s, hosts boot {boot_s} s")
            outcome = simulate(wanted, options.slots, boot_s, options.warm_up, control, choose)
            outcomes[name, boot_s] = outcome
            figures += figures_make(name, boot_s, outcome, reference)
    for name in dict.fromkeys(name for name, _ in outcomes):
        evictions = sum(outcomes[name, boot_s].evictions for boot_s in BOOTS_S)
        goal = 0.0 if name == "kumoi" else None
        figures.append(Figure(f"{name}.evictions", evictions, "replicas", "lower", goal))
    if options.chart:
        say("the chart: other headrooms and holds")
        options.chart.write_text(frontier_chart(wanted, options.slots, options.warm_up), encoding="utf-8")
    report_print(Report("hosts", options.seed, tuple(figures)), machine, as_json=options.json)
    return 0


def wanted_read(path: Path) -> list[int]:
    """The replicas wanted, second by second. ValueError for what is no list of whole numbers."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    wanted = [int(line) for line in data.split()]
    if not wanted or min(wanted) < 0:
        raise ValueError("it is empty, or has numbers below zero")
    return wanted


def figures_make(name: str, boot_s: int, outcome: Outcome, reference: int) -> Iterator[Figure]:
    """The figures of one run; ours with their goals."""
    cost_goal, waiting_goal = GOALS[boot_s] if name == "kumoi" else (None, None)
    starts = max(1, outcome.starts)
    end = f"_h{boot_s}"
    cost = outcome.host_s / max(1, reference)
    yield Figure(f"{name}.cost_over_reference{end}", cost, "ratio", "lower", cost_goal)
    yield Figure(f"{name}.waiting{end}", outcome.waited / starts, "share", "lower", waiting_goal)
    yield Figure(f"{name}.given_up{end}", outcome.given_up / starts, "share", "lower")
    yield Figure(f"{name}.wait_mean{end}", outcome.waits_s / starts, "s", "lower")
    yield Figure(f"{name}.asked{end}", outcome.asked, "hosts", "lower")


def frontier_chart(wanted: Sequence[int], slots: int, from_s: int) -> str:
    """Cost against all that waited or gave up: ours over its headroom, the fixed hold over its length."""
    lines = []
    for boot_s in BOOTS_S:
        reference = reference_cost(wanted, slots, boot_s, from_s)
        rules = {
            "kumoi": [HostRules(slots, boot_s, 0, 10**6, headroom) for headroom in SWEEP_HEADROOM],
            "hold": [HostRules(slots, boot_s, 0, 10**6, 0, 0, hold_s) for hold_s in SWEEP_HOLD_S],
        }
        for name, several in rules.items():
            points = []
            for one in several:
                outcome = simulate(wanted, slots, boot_s, from_s, kumoi_control(one), None)
                late = 100 * (outcome.waited + outcome.given_up) / max(1, outcome.starts)
                points.append((outcome.host_s / reference, late))
            lines.append(Line(f"{name}, {boot_s} s", points))
    x = Axis("cost / reference", 0.9, 1.25, 0.05)
    y = Axis("replicas that waited > 5 s or gave up, %", 0, 20, 2)
    return chart("Hosts: cost against waiting, by policy and boot time", x, y, lines)


if __name__ == "__main__":
    sys.exit(main())
