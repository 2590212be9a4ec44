"""What a decision about a pool's hosts looks at and what it answers: frozen data that can be recomputed."""

import hashlib
import zlib
from enum import StrEnum

import msgspec

HOLD_BOOTS = 4
"""A host is held this many boots unless the rules say otherwise (docs/performance/hosts.md)."""
INPUTS_BYTES_MAX = 16 << 20


class HostRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator asked for. All hosts of the pool are of one size.

    A slot is the unit in which demand is counted, `host_slots` of them make a host; a host takes `boot_s`
    from being asked for to taking work. While there is any demand, `headroom_slots` stay free for what comes
    next (None: a host's). Demand must last `patience_s` before a host is asked for (None: a boot, since what
    is over sooner could not have been served), and a host goes only after as many were not needed for
    `hold_s` (None: HOLD_BOOTS boots). Money is in micro-yen an hour; with a budget and a price never more
    hosts than it pays for.
    """

    host_slots: int
    boot_s: int
    hosts_min: int = 0
    hosts_max: int = 10
    headroom_slots: int | None = None
    patience_s: int | None = None
    hold_s: int | None = None
    host_hour_microyen: int = 0
    budget_hour_microyen: int | None = None

    @property
    def headroom(self) -> int:
        """Slots that stay free."""
        return self.host_slots if self.headroom_slots is None else self.headroom_slots

    @property
    def patience(self) -> int:
        """Seconds that demand must last."""
        return self.boot_s if self.patience_s is None else self.patience_s

    @property
    def hold(self) -> int:
        """Seconds that a host is kept beyond need."""
        return HOLD_BOOTS * self.boot_s if self.hold_s is None else self.hold_s

    @property
    def affordable(self) -> int | None:
        """How many hosts the budget pays for; None without a budget or a price."""
        if self.budget_hour_microyen is None or not self.host_hour_microyen:
            return None
        return self.budget_hour_microyen // self.host_hour_microyen

    @property
    def most(self) -> int:
        """The most hosts there may be. The budget is above the least number, too."""
        affordable = self.affordable
        return self.hosts_max if affordable is None else min(self.hosts_max, affordable)


class HostPhase(StrEnum):
    """Where a host stands: asked for, taking work, or leaving: it takes none, and is still paid for."""

    BOOTING = "booting"
    READY = "ready"
    LEAVING = "leaving"


class PoolHost(msgspec.Struct, frozen=True):
    """A host that the pool pays for. `busy`: something lives on it, of whatever size.

    `since_us` is when its phase began, or when a ready host without work lost its last.
    """

    id: str
    phase: HostPhase
    since_us: int
    slots_used: int = 0
    busy: bool = False


class HostsSeen(msgspec.Struct, frozen=True):
    """One look at a pool.

    `pending_slots` is the demand that no ready host has room for. Before `ask_from_us` nothing is asked for,
    since what was asked for lately came to nothing.
    """

    now_us: int
    hosts: tuple[PoolHost, ...] = ()
    pending_slots: int = 0
    ask_from_us: int = 0


class Mark(msgspec.Struct, frozen=True):
    """A time and a number of hosts."""

    at_us: int
    hosts: int


class HostsState(msgspec.Struct, frozen=True):
    """What is kept from look to look.

    `lasting`: at least `hosts` have been needed without a break since `at_us` (both rise along the tuple).
    `recent`: `hosts` were needed last at `at_us` (hosts fall, times rise), as far back as the hold reaches.
    `looked_us` is the look before, None at the start.
    """

    looked_us: int | None = None
    lasting: tuple[Mark, ...] = ()
    recent: tuple[Mark, ...] = ()


class HostsDecision(msgspec.Struct, frozen=True):
    """How many hosts to ask for, which to give back, and why.

    `needed` hosts would hold the demand now with its headroom. `reason` is a key of `HOST_REASONS`,
    `figures` what its sentence needs. Never asks and gives back at once.
    """

    ask: int
    release: tuple[str, ...]
    needed: int
    reason: str
    figures: tuple[tuple[str, int], ...]
    state: HostsState


class HostsInputs(msgspec.Struct, frozen=True):
    """All that one decision was made on."""

    rules: HostRules
    state: HostsState
    seen: HostsSeen


HOST_REASONS = {
    "asked": "{ask} more hosts: {needed} have been needed for {patience_s} s",
    "woken": "{ask} hosts, because work waits and the pool has none",
    "at_min": "{ask} more hosts, up to the {hosts} that the pool always has",
    "at_max": "no more hosts: {needed} are needed, and the pool may have {hosts}",
    "over_budget": "no more hosts: {needed} are needed, and the budget pays for {hosts}",
    "backing_off": "no more hosts yet: {needed} are needed, but those asked for lately came to nothing",
    "patient": "no more hosts yet: {needed} are needed, but not for {patience_s} s so far",
    "held": "nothing given back yet: {hosts} hosts were needed within the last {hold_s} s",
    "busy": "nothing given back: {hosts} hosts would do, but no other is without work",
    "released": "{release} hosts given back: {hosts} have been enough for {hold_s} s",
    "steady": "as many hosts as are needed",
}
"""Sentences to translate, by the code of the reason. Names in braces are a decision's figures."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_inputs_decoder = msgspec.msgpack.Decoder(HostsInputs)
_state_decoder = msgspec.msgpack.Decoder(HostsState)


def hosts_inputs_pack(inputs: HostsInputs) -> bytes:
    """The inputs in the form in which they are kept."""
    return zlib.compress(_encoder.encode(inputs), 3)


def hosts_inputs_unpack(packed: bytes) -> HostsInputs:
    """The inputs of `hosts_inputs_pack`. ValueError for bytes that are none, or unfold to too much."""
    unfold = zlib.decompressobj()
    try:
        raw = unfold.decompress(packed, INPUTS_BYTES_MAX)
        if not unfold.eof:
            raise ValueError(f"what a host decision was made on is cut off, or over {INPUTS_BYTES_MAX} bytes")
        return _inputs_decoder.decode(raw)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"these are not the inputs of a host decision: {error}") from error


def hosts_inputs_digest(inputs: HostsInputs) -> str:
    """SHA-256 (hex) over the inputs."""
    return hashlib.sha256(_encoder.encode(inputs)).hexdigest()


def hosts_state_pack(state: HostsState) -> bytes:
    """The state in the form in which it is kept."""
    return _encoder.encode(state)


def hosts_state_unpack(packed: bytes) -> HostsState:
    """The state of `hosts_state_pack`. ValueError for bytes that are none."""
    try:
        return _state_decoder.decode(packed)
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is not the state of a pool's hosts: {error}") from error
