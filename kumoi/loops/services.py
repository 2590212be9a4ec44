"""Services as they should be: what the gateway saw becomes replicas wanted, wanted becomes rows, rows routes.

Each activation reads everything anew. What memory holds (the autoscaler's state between two records, the
gateway's counters at the last look) may be lost at any line: the next look begins from the rows.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low

import msgspec

from kumoi.core import rollout
from kumoi.core.autoscale.decide import bounds, decide, scaler_new
from kumoi.core.autoscale.inputs import (
    Decision,
    Inputs,
    ScalerState,
    ScaleRules,
    Seen,
    inputs_digest,
    inputs_pack,
    inputs_unpack,
    state_pack,
    state_unpack,
)
from kumoi.core.rollout import ServiceView, Steps
from kumoi.core.rollout_replicas import ReplicaView
from kumoi.engines.base import EngineError
from kumoi.loops.context import LoopContext
from kumoi.loops.gateway_link import Gateway, Heard
from kumoi.loops.service_views import (
    NO_HEALTH,
    conditions_text,
    replica_view,
    run_current,
    runs_of,
    scale_rules,
    service_route,
    service_view,
    traffic_of,
)
from kumoi.model.routes import Endpoint, ServiceRoute, ServiceTraffic
from kumoi.model.services import RevisionSpec, ServiceSpec
from kumoi.model.time import US_PER_S
from kumoi.store.errors import ImpossibleState, MissingReference, StaleState
from kumoi.store.replicas import (
    ReplicaRead,
    Scaling,
    ServiceRead,
    ServiceWrite,
    cold_starts,
    service_write,
    services_load,
)
from kumoi.store.services import spec_of
from kumoi.store.writer import Fence

PAGE = 100
PAGES_MAX = 1_000
LOOK_US = 900_000
"""The autoscaler looks no more often, but when a request waits and nothing is up."""
RECORD_US = 10 * US_PER_S
"""Decisions that change nothing are recorded so often, while there is any demand."""
COLD_STARTS = 20
RECENT = 0.9
"""What a look keeps of the weight of earlier completions."""
ENDPOINT_WAIT_US = 5 * US_PER_S
"""For so long after its start a replica is asked for its endpoint again at once."""

STALE_MAX = 5

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder(order="deterministic")


@dataclass(slots=True)
class ServiceMemory:
    """What is remembered of one service between two looks."""

    state: ScalerState
    cold: deque[int]
    epoch: str = ""
    base: ServiceTraffic | None = None
    service_us: float = 0.0
    completed: float = 0.0
    recorded: tuple[int, str, bool] = (-1, "", False)
    recorded_us: int = 0
    serving_failed_us: int | None = None
    stale: int = 0


@dataclass(slots=True)
class ServicesMemory:
    """What the loop remembers; all of it may be lost."""

    epoch: int = -1
    services: dict[str, ServiceMemory] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    unready_us: dict[str, int] = field(default_factory=dict)
    drained_in: dict[str, int] = field(default_factory=dict)
    """The table since which a draining replica gets no requests."""

    def is_stale_again(self, service_id: str) -> bool:
        """Count a look that came too late. Whether to look again at once: not for ever."""
        mine = self.services[service_id]
        mine.stale += 1
        return mine.stale <= STALE_MAX

    def forget(self, epoch: int) -> None:
        """Begin anew under a lease."""
        self.epoch = epoch
        for kept in (self.services, self.endpoints, self.unready_us, self.drained_in):
            kept.clear()


@dataclass(frozen=True, slots=True)
class _Scale:
    """A decision of the autoscaler, what it was made on, and what there was to see."""

    decision: Decision
    inputs: Inputs


def services_activate(memory: ServicesMemory, gateway: Gateway, context: LoopContext, fence: Fence) -> bool:
    """One look at every service, then one table for the gateway. More at once while replicas come up.

    What fails for one service keeps no other waiting; the first failure is raised at the end. Where not
    everything is known that belongs into a table, the gateway goes on with the one that it has.
    """
    if memory.epoch != fence.epoch:
        memory.forget(fence.epoch)
    look = _Pass(memory, context, fence, gateway.heard(), gateway.is_starting())
    after_id = ""
    for _ in range(PAGES_MAX):
        page = context.store.read_wait(services_load, after_id, PAGE)
        look.endpoints_learn(page)
        for read in page:
            look.service_keep(read)
        if len(page) < PAGE:
            break
        after_id = page[-1].row.id
    if look.is_whole:
        version = gateway.publish(tuple(look.routes))
        _memory_trim(memory, look, version)
    if look.failures:
        raise look.failures[0]
    return look.more


@dataclass(slots=True)
class _Pass:
    """One activation: what it works on, and what has come of it so far."""

    memory: ServicesMemory
    context: LoopContext
    fence: Fence
    heard: Heard | None
    is_gateway_starting: bool
    routes: list[ServiceRoute] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    more: bool = False
    is_whole: bool = True
    attempt_ids: set[str] = field(default_factory=set)
    replica_ids: set[str] = field(default_factory=set)

    def endpoints_learn(self, page: Sequence[ServiceRead]) -> None:
        """Ask engines where new replicas listen. One that just began is asked again at once."""
        known, now_us = self.memory.endpoints, self.context.clock_us()
        asked: dict[str, dict[str, ReplicaRead]] = {}
        for read in page:
            for one in read.replicas:
                attempt = one.attempt
                self.replica_ids.add(one.row.id)
                if attempt is not None:
                    self.attempt_ids.add(attempt.id)
                if attempt is not None and attempt.state == "running" and attempt.id not in known:
                    asked.setdefault(attempt.engine, {})[attempt.id] = one
        for name, new in asked.items():
            engine = self.context.engines.get(name)
            try:
                known |= engine.endpoints(list(new)) if engine is not None else {}
            except EngineError as error:
                _log.warning("the engine %s does not say where replicas listen: %s", name, error)
                # What only starts is missed by nobody; what was ready is in the table that is in use.
                self.is_whole &= all(one.row.state == "starting" for one in new.values())
            self.more |= any(
                ref not in known and now_us - (one.attempt.started_us or 0) < ENDPOINT_WAIT_US
                for ref, one in new.items()
                if one.attempt is not None
            )

    def service_keep(self, read: ServiceRead) -> None:
        """Look at one service, write what follows, add its route."""
        traffic = self.traffic.get(read.row.id)
        states = {one.row.id: one.row.state for one in read.replicas}
        try:
            spec, runs = spec_of(read.row), runs_of(read)
            try:
                states |= _service_keep(self, read, spec, runs, traffic)
            except StaleState as error:
                _log.info("looking again: %s", error)
                self.more |= self.memory.is_stale_again(read.row.id)
            except (ImpossibleState, MissingReference, ValueError) as error:
                self.failures.append(error)
            self.routes.append(service_route(read, spec, runs, states, self.memory.endpoints))
        except (msgspec.MsgspecError, KeyError) as error:
            self.failures.append(error)
            self.is_whole = False

    @property
    def traffic(self) -> Mapping[str, ServiceTraffic]:
        """What the gateway saw, by service."""
        return traffic_of(self.heard.report) if self.heard else {}


def _service_keep(
    look: _Pass,
    read: ServiceRead,
    spec: ServiceSpec,
    runs: Mapping[int, RevisionSpec],
    traffic: ServiceTraffic | None,
) -> Mapping[str, str]:
    """Decide about one service and write it. Returns the states of its replicas after that."""
    context, heard, row = look.context, look.heard, read.row
    now_us = context.clock_us()
    mine = look.memory.services.get(row.id) or _memory_open(context, read)
    look.memory.services[row.id] = mine
    replicas = _replica_views(look, read, traffic, now_us)
    rules = scale_rules(spec.scale, run_current(read, spec, runs).concurrency, now_us)
    scale = None
    if row.state == "active" and heard is not None and traffic is not None:
        scale = _scale(mine, rules, heard.report.epoch, traffic, replicas, now_us)
    view = service_view(
        read,
        spec,
        runs,
        replicas,
        wanted=_wanted(read, rules, scale, now_us),
        waiting=traffic.waiting if traffic else 0,
        heard_us=heard.since_us if heard else None,
        is_gateway_starting=look.is_gateway_starting,
        serving_failed_us=mine.serving_failed_us,
    )
    steps = rollout.decide(view, now_us)
    mine.serving_failed_us = steps.serving_failed_us
    conditions = conditions_text(row.conditions, steps.conditions, now_us)
    scaling = _scaling(mine, scale, now_us) if scale else None
    busy = {one.id: one.busy for one in replicas}
    write = ServiceWrite(read, steps, view.wanted, conditions, scaling, busy)
    if _is_news(write):
        context.store.transact_wait(look.fence, service_write, write, now_us, context.cell)
        if scaling is not None and scale is not None:
            mine.recorded, mine.recorded_us = _remark(scale), now_us
    mine.stale = 0
    _after(mine, context, view, steps, now_us)
    moved = {move.id: move.target for move in steps.moves}
    return {one.id: moved.get(one.id, one.state) for one in replicas}


def _memory_open(context: LoopContext, read: ServiceRead) -> ServiceMemory:
    """Begin from what the rows kept."""
    row = read.row
    policy = spec_of(row).scale.policy.value
    state = scaler_new(policy)
    if row.scaler is not None:
        try:
            state = state_unpack(row.scaler)
        except ValueError as error:
            _log.warning("the autoscaler of %s begins anew: %s", row.id, error)
    cold = context.store.read_wait(cold_starts, row.id, COLD_STARTS)
    return ServiceMemory(state, deque(reversed(cold), COLD_STARTS))


def _replica_views(
    look: _Pass, read: ServiceRead, traffic: ServiceTraffic | None, now_us: int
) -> tuple[ReplicaView, ...]:
    memory, heard = look.memory, look.heard
    said = {one.id: one for one in traffic.replicas} if traffic else {}
    views = []
    for one in read.replicas:
        health = said.get(one.row.id)
        if health is not None and health.ready is False:
            memory.unready_us.setdefault(one.row.id, now_us)
        elif health is not None:
            memory.unready_us.pop(one.row.id, None)
        # What the gateway was never told of, or was told to leave, and holds no request of.
        is_known = one.attempt is not None and (one.attempt.id in memory.endpoints or not look.is_whole)
        since = memory.drained_in.get(one.row.id)
        is_left = since is not None and heard is not None and heard.report.table_version >= since
        is_drained = not is_known or (is_left and (health is None or health.busy == 0))
        views.append(
            replica_view(
                one,
                health or NO_HEALTH,
                unready_us=memory.unready_us.get(one.row.id),
                is_drained=one.row.state == "draining" and is_drained,
            )
        )
    return tuple(views)


def _scale(
    mine: ServiceMemory,
    rules: ScaleRules,
    epoch: str,
    traffic: ServiceTraffic,
    replicas: Sequence[ReplicaView],
    now_us: int,
) -> _Scale | None:
    """Let the autoscaler decide, unless it did a moment ago and nobody waits in vain."""
    ready = sum(one.state in ("ready", "starting") and one.ready is True for one in replicas)
    starting = [one for one in replicas if one.state == "starting" and one.ready is not True]
    looked_us = mine.state.looked_us
    is_waited_for = traffic.waiting > 0 and not mine.state.wanted
    is_due = looked_us is None or now_us - looked_us >= LOOK_US or (is_waited_for and now_us > looked_us)
    if not is_due:
        return None
    before = mine.base if mine.epoch == epoch else None
    if before is None:
        # Counters of a gateway that began anew count from its start; of one never seen, from now.
        zero = ServiceTraffic(traffic.id, 0, 0, 0, 0, 0, 0, 0, ())
        before = zero if mine.epoch else traffic
    mine.epoch, mine.base = epoch, traffic
    completions = max(0, traffic.completed - before.completed)
    if completions:
        mine.service_us = mine.service_us * RECENT + max(0, traffic.service_us - before.service_us)
        mine.completed = mine.completed * RECENT + completions
    seen = Seen(
        now_us=now_us,
        arrivals=max(0, traffic.arrived - before.arrived),
        service_ms=mine.service_us / mine.completed / 1_000 if mine.completed else None,
        waiting=traffic.waiting,
        busy=traffic.busy,
        ready=ready,
        starting_ages_ms=tuple(sorted((now_us - one.asked_us) // 1_000 for one in starting)),
        violations=max(0, traffic.violated - before.violated),
        completions=completions,
        cold_start_ms=median_low(mine.cold) // 1_000 if mine.cold else None,
    )
    inputs = Inputs(rules, mine.state, seen)
    decision = decide(rules, mine.state, seen)
    mine.state = decision.state
    return _Scale(decision, inputs)


def _wanted(read: ServiceRead, rules: ScaleRules, scale: _Scale | None, now_us: int) -> int:
    """How many replicas there should be: as decided now, or as before, inside what the user allows."""
    if read.row.state != "active":
        return 0
    if scale is not None:
        return scale.decision.wanted
    low, high = bounds(rules, now_us)
    return max(low, min(int(read.row.wanted), high))


def _remark(scale: _Scale) -> tuple[int, str, bool]:
    """What makes a decision worth recording when it changes."""
    seen = scale.inputs.seen
    return scale.decision.wanted, scale.decision.reason, bool(seen.busy + seen.waiting + seen.arrivals)


def _scaling(mine: ServiceMemory, scale: _Scale, now_us: int) -> Scaling | None:
    """The decision as it is recorded; None where it says nothing new."""
    remark = _remark(scale)
    is_same = remark == mine.recorded
    if is_same and (not remark[2] or now_us - mine.recorded_us < RECORD_US):
        return None
    seen, decision = scale.inputs.seen, scale.decision
    packed = inputs_pack(scale.inputs)
    return Scaling(
        at_us=now_us,
        ready=seen.ready,
        waiting=seen.waiting,
        demand_milli=(seen.busy + seen.waiting) * 1_000,
        reason=_encoder.encode({"code": decision.reason, "figures": dict(decision.figures)}).decode(),
        # Of what a replay will read: numbers may come back in another type.
        digest=inputs_digest(inputs_unpack(packed)),
        inputs=packed,
        scaler=state_pack(decision.state),
    )


def _is_news(write: ServiceWrite) -> bool:
    """Whether anything is to be written."""
    row, steps = write.read.row, write.steps
    is_done = steps.moves or steps.starts or steps.stops or steps.revisions or steps.is_over
    kept = (row.generation, row.revision, row.target, row.failures, row.retry_us, row.wanted, row.conditions)
    now = (
        row.observed_generation,
        steps.revision,
        steps.target,
        steps.failures,
        steps.retry_us,
        write.wanted,
        write.conditions,
    )
    return bool(is_done) or write.scaling is not None or kept != now


def _after(mine: ServiceMemory, context: LoopContext, view: ServiceView, steps: Steps, now_us: int) -> None:
    """Measure cold starts, and wake those who go on with what was written."""
    asked_us = {one.id: one.asked_us for one in view.replicas if one.ready_us is None}
    for move in steps.moves:
        if move.target == "ready" and move.id in asked_us:
            mine.cold.append(now_us - asked_us[move.id])
    if steps.starts:
        context.nudge("jobs")
    if steps.stops:
        context.nudge("tasks")


def _memory_trim(memory: ServicesMemory, look: _Pass, version: int) -> None:
    """Remember in which table replicas began to drain; forget what is not there any more."""
    draining = {one.id for route in look.routes for one in route.replicas if not one.serving}
    memory.drained_in = {one: memory.drained_in.get(one, version) for one in draining}
    known = {route.id for route in look.routes}
    memory.endpoints = {key: at for key, at in memory.endpoints.items() if key in look.attempt_ids}
    memory.unready_us = {key: at for key, at in memory.unready_us.items() if key in look.replica_ids}
    memory.services = {key: kept for key, kept in memory.services.items() if key in known}
