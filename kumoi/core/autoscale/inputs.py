"""What a replica decision looks at and what it answers: frozen data, so that a decision can be recomputed."""

import hashlib
import zlib

import msgspec

from kumoi.core.autoscale.memory import Memory


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time during which other bounds hold, microseconds UTC, once or again every `every_s` seconds.

    A bound that is None stays as the service's own. Where windows meet, the highest minimum and the lowest
    maximum hold; where those contradict each other, the minimum does.
    """

    start_us: int
    end_us: int
    every_s: int = 0
    min_replicas: int | None = None
    max_replicas: int | None = None

    def active(self, now_us: int) -> bool:
        """Whether the window holds now."""
        since_us = now_us - self.start_us
        if since_us < 0:
            return False
        if self.every_s:
            since_us %= self.every_s * 1_000_000
        return since_us < self.end_us - self.start_us


class ScaleRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user asked for.

    `slots` is how many requests a replica serves at once. A request that waits longer than `slo_wait_ms`
    violates the objective; `violation_target_ppm` is the share of requests that may (None: what the policy
    is tuned for). `pin` is a number of replicas set by hand, inside the service's own bounds, above any
    schedule. `utilisation_ppm` and `window_s` replace the defaults of the policies `target`, `panic` and
    `queue`: the share of a replica's slots that should be busy, and the seconds looked back.
    """

    policy: str = "kumoi"
    min_replicas: int = 1
    max_replicas: int = 10
    slots: int = 1
    slo_wait_ms: int = 2_000
    violation_target_ppm: int | None = None
    schedules: tuple[Schedule, ...] = ()
    pin: int | None = None
    utilisation_ppm: int | None = None
    window_s: int | None = None


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One look at a service.

    Counts since the look before: `arrivals`, `completions`, and `violations` (requests found to have waited
    longer than the objective). `service_ms` is the mean over recent completions, None before the first.
    Now: `waiting` requests have no slot, `busy` ones are served, `ready` replicas take requests, and
    `starting_ages_ms` are the ages of those asked for and not ready yet. `cold_start_ms` is what replicas
    lately took from being asked for to being ready, None if none was measured.
    """

    now_us: int
    arrivals: int = 0
    service_ms: float | None = None
    waiting: int = 0
    busy: int = 0
    ready: int = 0
    starting_ages_ms: tuple[int, ...] = ()
    violations: int = 0
    completions: int = 0
    cold_start_ms: int | None = None

    @property
    def starting(self) -> int:
        """How many replicas are asked for and not ready yet."""
        return len(self.starting_ages_ms)


class ScalerState(msgspec.Struct, frozen=True):
    """What a policy keeps from look to look. `looked_us` is the look before, None at the start."""

    policy: str
    memory: Memory
    looked_us: int | None = None
    wanted: int = 0


class Wish(msgspec.Struct, frozen=True):
    """What a policy alone would have, before pins, schedules and bounds."""

    replicas: int
    reason: str
    memory: Memory
    figures: tuple[tuple[str, float], ...] = ()
    forecast: float | None = None
    quantile: float | None = None
    hold_until_us: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """How many replicas there should be, and why.

    `reason` is a key of `reasons.REASONS`, `figures` what its sentence needs. `forecast` is the number of
    requests expected to be in service when a replica asked for now is ready; `quantile` the margin above it
    in standard deviations of that many independent requests. No replica is given back before
    `hold_until_us`.
    """

    wanted: int
    reason: str
    figures: tuple[tuple[str, float], ...]
    state: ScalerState
    forecast: float | None = None
    quantile: float | None = None
    hold_until_us: int | None = None


class Inputs(msgspec.Struct, frozen=True):
    """All that one decision was made on."""

    rules: ScaleRules
    state: ScalerState
    seen: Seen


INPUTS_BYTES_MAX = 16 << 20
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_inputs_decoder = msgspec.msgpack.Decoder(Inputs)
_state_decoder = msgspec.msgpack.Decoder(ScalerState)


def inputs_pack(inputs: Inputs) -> bytes:
    """The inputs in the form in which they are kept."""
    return _pack(inputs)


def inputs_unpack(packed: bytes) -> Inputs:
    """The inputs of `inputs_pack`. ValueError for bytes that are none, or unfold to too much."""
    try:
        return _inputs_decoder.decode(_unfold(packed))
    except msgspec.MsgspecError as error:
        raise ValueError(f"these are not the inputs of a replica decision: {error}") from error


def inputs_digest(inputs: Inputs) -> str:
    """SHA-256 (hex) over the inputs, as they are after having been kept: 1 and 1.0 are the same there."""
    kept = _inputs_decoder.decode(_encoder.encode(inputs))
    return hashlib.sha256(_encoder.encode(kept)).hexdigest()


def state_pack(state: ScalerState) -> bytes:
    """The state in the form in which it is kept."""
    return _pack(state)


def state_unpack(packed: bytes) -> ScalerState:
    """The state of `state_pack`. ValueError for bytes that are none, or unfold to too much."""
    try:
        return _state_decoder.decode(_unfold(packed))
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is not the state of an autoscaler: {error}") from error


def _pack(value: Inputs | ScalerState) -> bytes:
    return zlib.compress(_encoder.encode(value), 3)


def _unfold(packed: bytes) -> bytes:
    unfold = zlib.decompressobj()
    try:
        raw = unfold.decompress(packed, INPUTS_BYTES_MAX)
    except zlib.error as error:
        raise ValueError(f"what was kept of a replica decision is damaged: {error}") from error
    if not unfold.eof:
        raise ValueError(f"what was kept of a replica decision is cut off, or over {INPUTS_BYTES_MAX} bytes")
    return raw
