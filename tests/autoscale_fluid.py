"""A service made of numbers, to let a scaler decide second by second."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kumoi.core.autoscale.decide import decide, scaler_new
from kumoi.core.autoscale.inputs import Decision, Inputs, ScalerState, ScaleRules, Seen

SECOND_US = 1_000_000


@dataclass
class Fluid:
    """A service that serves what it can of what arrives, second by second."""

    rules: ScaleRules
    cold_start_s: int = 10
    service_ms: float = 2_000.0
    now_s: int = 1_000_000
    inside: float = 0.0
    ready: int = 1
    starting: list[int] = field(default_factory=list)
    state: ScalerState | None = None
    inputs: list[Inputs] = field(default_factory=list)

    def look(self, arrivals: int) -> Decision:
        """One second later."""
        self.now_s += 1
        self.ready += sum(self.now_s - asked >= self.cold_start_s for asked in self.starting)
        self.starting = [asked for asked in self.starting if self.now_s - asked < self.cold_start_s]
        slots = self.ready * self.rules.slots
        self.inside = max(0.0, self.inside + arrivals - min(self.inside, slots) * 1_000 / self.service_ms)
        busy = min(round(self.inside), slots)
        seen = Seen(
            self.now_s * SECOND_US,
            arrivals,
            self.service_ms,
            round(self.inside) - busy,
            busy,
            self.ready,
            tuple((self.now_s - asked) * 1_000 for asked in self.starting),
            cold_start_ms=self.cold_start_s * 1_000,
        )
        if self.state is None:
            self.state = scaler_new(self.rules.policy)
        self.inputs.append(Inputs(self.rules, self.state, seen))
        decision = decide(self.rules, self.state, seen)
        self.state = decision.state
        up = self.ready + len(self.starting)
        self.starting += [self.now_s] * (decision.wanted - up)
        for _ in range(up - decision.wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1
        return decision

    def run(self, arrivals: Iterable[int]) -> list[Decision]:
        """Many looks."""
        return [self.look(count) for count in arrivals]
