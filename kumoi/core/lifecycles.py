"""The lifecycles: every state and every move that exists, in one table.

`store` moves states by compare-and-swap along these tables only; the CHECK constraints of the schema and
the diagrams in `docs/` are generated from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The states of one resource. `moves` maps a state to the states it may go to, each with its cause."""

    name: str
    initial: str
    moves: Mapping[str, Mapping[str, str]]
    entrances: tuple[str, ...]
    """The states that a row may begin in; `initial` is the usual one."""

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, in the order of the table."""
        return tuple(self.moves)

    @property
    def terminal(self) -> frozenset[str]:
        """The states that nothing leaves."""
        return frozenset(state for state, targets in self.moves.items() if not targets)

    def allows(self, source: str, target: str) -> bool:
        """Whether the table has the move."""
        return target in self.moves.get(source, {})


def _lifecycle(
    name: str, initial: str, moves: dict[str, dict[str, str]], also: tuple[str, ...] = ()
) -> Lifecycle:
    unknown = {target for targets in moves.values() for target in targets} - moves.keys()
    if unknown or initial not in moves:
        raise ValueError(f"the lifecycle {name} names states that it does not have: {unknown or initial}")
    frozen = {state: MappingProxyType(targets) for state, targets in moves.items()}
    return Lifecycle(name, initial, MappingProxyType(frozen), (initial, *also))


ORGANIZATION = _lifecycle(
    "organization",
    "active",
    {"active": {"suspended": "operator suspends"}, "suspended": {"active": "operator resumes"}},
)
PROJECT = _lifecycle(
    "project",
    "active",
    {"active": {"archived": "administrator archives"}, "archived": {"active": "administrator restores"}},
)
PRINCIPAL = _lifecycle(
    "principal",
    "active",
    {"active": {"disabled": "administrator disables"}, "disabled": {"active": "administrator enables"}},
)
TOKEN = _lifecycle(
    "token", "active", {"active": {"revoked": "owner or administrator revokes"}, "revoked": {}}
)
POOL = _lifecycle(
    "pool", "open", {"open": {"paused": "operator pauses"}, "paused": {"open": "operator resumes"}}
)
HOST = _lifecycle(
    "host",
    "schedulable",
    {
        "schedulable": {
            "draining": "operator drains, or a device is unhealthy",
            "quarantined": "operator declares it lost",
        },
        "draining": {"maintenance": "last attempt ended", "schedulable": "operator resumes"},
        "maintenance": {"schedulable": "operator resumes"},
        "quarantined": {"schedulable": "operator resumes", "draining": "operator drains"},
    },
)
MACHINE = _lifecycle(
    "machine",
    "requested",
    {
        "requested": {
            "booting": "its provider answered",
            "failed": "its provider refuses it for good",
            "releasing": "not needed any more",
        },
        "booting": {
            "ready": "its engine reports the host",
            "releasing": "not needed any more, or no report in time",
            "failed": "its provider lost it",
        },
        "ready": {"releasing": "drained, as it is not needed any more", "failed": "its provider lost it"},
        "releasing": {"released": "its provider has it no more"},
        "released": {},
        "failed": {},
    },
)
RESERVATION = _lifecycle(
    "reservation",
    "held",
    {"held": {"ended": "its time ran out", "cancelled": "owner cancels"}, "ended": {}, "cancelled": {}},
)
JOB = _lifecycle(
    "job",
    "pending",
    {
        "waiting": {
            "pending": "every dependency is met",
            "failed": "a dependency failed",
            "cancelled": "user cancels",
        },
        "pending": {"queued": "its turn came, tasks written", "cancelled": "user cancels"},
        "queued": {"running": "first attempt placed", "cancelling": "user cancels"},
        "running": {
            "succeeded": "every task succeeded",
            "failed": "every task ended, one failed for good",
            "cancelling": "user cancels, or one of a gang failed",
        },
        "cancelling": {
            "cancelled": "every task ended after a cancel",
            "failed": "every task ended after a failure",
        },
        "succeeded": {},
        "failed": {},
        "cancelled": {},
    },
    also=("waiting",),
)
TASK = _lifecycle(
    "task",
    "queued",
    {
        "queued": {"active": "an attempt was placed", "cancelled": "job cancelled"},
        "active": {
            "queued": "the attempt was preempted, or ended and the retry policy allows another",
            "succeeded": "the attempt exited with 0",
            "failed": "the attempt failed and no retry is left",
            "cancelled": "job cancelled",
        },
        "succeeded": {},
        "failed": {},
        "cancelled": {},
    },
)
ATTEMPT = _lifecycle(
    "attempt",
    "placed",
    {
        "placed": {
            "running": "the engine reports it started",
            "stopping": "cancelled before it was seen running",
            "ended": "the engine reports its end",
        },
        "running": {"stopping": "cancelled", "ended": "the engine reports its end"},
        "stopping": {"ended": "the engine reports its end"},
        "ended": {},
    },
)
SERVICE = _lifecycle(
    "service",
    "active",
    {
        "active": {"deleting": "user deletes"},
        "deleting": {"deleted": "the last replica ended"},
        "deleted": {},
    },
)
REVISION = _lifecycle(
    "revision",
    "rolling",
    {
        "rolling": {
            "serving": "it took over",
            "failed": "its replicas did not become or stay ready, or nothing of it could start",
            "retired": "a newer revision or a rollback came before it took over",
        },
        "serving": {"retired": "a newer revision took over"},
        "retired": {"rolling": "user rolls back to it"},
        "failed": {"rolling": "user tries it again"},
    },
)
REPLICA = _lifecycle(
    "replica",
    "starting",
    {
        "starting": {
            "ready": "its readiness check passed",
            "draining": "no longer wanted, or it never became ready",
            "ended": "its job ended",
        },
        "ready": {
            "unready": "its readiness check fails",
            "draining": "no longer wanted, or it is not alive",
            "ended": "its job ended",
        },
        "unready": {
            "ready": "its readiness check passes again",
            "draining": "no longer wanted, or it is not alive",
            "ended": "its job ended",
        },
        "draining": {"ended": "its job ended"},
        "ended": {},
    },
)
NOTICE_SENDING = _lifecycle(
    "notice_sending",
    "pending",
    {
        "pending": {"delivered": "its receiver took it", "given_up": "its receiver never took it in time"},
        "delivered": {},
        "given_up": {},
    },
)
ORGANIZATION_KEY = _lifecycle(
    "organization_key",
    "current",
    {"current": {"retired": "a newer version took over"}, "retired": {}},
)
KEY_HOLDER = _lifecycle(
    "key_holder",
    "held",
    {
        "held": {
            "withdrawn": "the tenant withdraws its key",
            "lost": "the token does not give the key any more",
        },
        "lost": {
            "held": "the token gives the key again",
            "withdrawn": "the tenant withdraws its key",
        },
        "withdrawn": {"held": "the tenant restores its key, and the token gives it"},
    },
)

ACCESS_REQUEST = _lifecycle(
    "access_request",
    "requested",
    {
        "requested": {
            "approved": "tenant approves (now or by a rule), or a second operator confirms broken glass",
            "denied": "tenant denies",
            "withdrawn": "operator withdraws",
            "lapsed": "nobody answered in time",
        },
        "approved": {
            "revoked": "tenant revokes",
            "ended": "operator gives it back",
            "expired": "its time ran out",
        },
        "denied": {},
        "withdrawn": {},
        "lapsed": {},
        "revoked": {},
        "ended": {},
        "expired": {},
    },
    also=("approved",),
)
ACCESS_KEY = _lifecycle(
    "access_key", "active", {"active": {"retired": "administrator retires"}, "retired": {}}
)
ACCESS_RULE = _lifecycle(
    "access_rule", "active", {"active": {"revoked": "administrator revokes"}, "revoked": {}}
)

LIFECYCLES: tuple[Lifecycle, ...] = (
    ORGANIZATION,
    PROJECT,
    PRINCIPAL,
    TOKEN,
    POOL,
    HOST,
    MACHINE,
    RESERVATION,
    JOB,
    TASK,
    ATTEMPT,
    SERVICE,
    REVISION,
    REPLICA,
    NOTICE_SENDING,
    ORGANIZATION_KEY,
    KEY_HOLDER,
    ACCESS_REQUEST,
    ACCESS_KEY,
    ACCESS_RULE,
)
