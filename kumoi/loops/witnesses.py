"""Witnesses of the log: have each new head cosigned, and publish it once enough of them did.

Nothing is kept that a witness could not tell again: what a crash forgets is asked for once more.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import httpx

from kumoi.ledger.checkpoint import Checkpoint
from kumoi.ledger.note import Signature, VerifierKey, note_extend, vkey_format
from kumoi.ledger.tree import consistency_prove
from kumoi.loops.context import LoopContext
from kumoi.loops.witness_asking import TIMEOUT_S, Witness, WitnessFailed, cosignature_ask
from kumoi.store.database import Store
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.log import LogHead, StoredTiles, head_read
from kumoi.store.witnesses import WitnessState, witness_states, witnesses_write
from kumoi.store.writer import Fence

FAILURE_MAX = 400

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quorum:
    """The witnesses of the log `origin`, and how many of them must have cosigned what is published."""

    origin: str
    needed: int
    witnesses: tuple[Witness, ...]


@dataclass(slots=True)
class WitnessesMemory:
    """Cosignatures of the newest head by witness, as they come, and connections that stay open."""

    root: bytes = b""
    signed: dict[VerifierKey, Signature] = field(default_factory=dict)
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)
    )


def witnesses_activate(memory: WitnessesMemory, quorum: Quorum, context: LoopContext, fence: Fence) -> bool:
    """Ask whoever did not cosign the newest head yet; publish it when enough did."""
    head = context.store.read_wait(head_read, quorum.origin)
    if head is None:
        return False
    if memory.root != head.root:
        memory.root, memory.signed = head.root, {}
    missing = [one for one in quorum.witnesses if one.key not in memory.signed]
    if not missing:
        return False
    states = context.store.read_wait(witness_states)
    answers = _ask_all(memory.client, context.store, head, missing, states)
    memory.signed |= {one.key: said for one, said in answers if isinstance(said, Signature)}
    published = None
    if len({key.public_key for key in memory.signed}) >= quorum.needed:
        note = note_extend(head.checkpoint.encode(), memory.signed.values())
        published = replace(head, checkpoint=note.decode())
    _keep(context, fence, answers, states, published, head.size)
    return False


def _ask_all(
    client: httpx.Client,
    store: Store,
    head: LogHead,
    witnesses: Sequence[Witness],
    states: dict[str, WitnessState],
) -> list[tuple[Witness, Signature | str]]:
    """Each witness with its cosignature, or why there is none. All are asked at once: one may be slow."""
    ask = partial(_ask, client, store, head, states)
    with ThreadPoolExecutor(len(witnesses), thread_name_prefix="witnesses") as threads:
        return list(zip(witnesses, threads.map(ask, witnesses), strict=True))


def _ask(
    client: httpx.Client, store: Store, head: LogHead, states: dict[str, WitnessState], witness: Witness
) -> Signature | str:
    state = states.get(vkey_format(witness.key))
    checkpoint = Checkpoint(head.origin, head.size, head.root)

    def prove(old_size: int, size: int) -> tuple[bytes, ...]:
        if not old_size:
            return ()
        return store.read_wait(lambda connection: consistency_prove(StoredTiles(connection), old_size, size))

    known = min(state.size, head.size) if state else 0
    try:
        return cosignature_ask(client, witness, checkpoint, head.checkpoint.encode(), known, prove)
    except WitnessFailed as error:
        return str(error)[:FAILURE_MAX]


def _keep(
    context: LoopContext,
    fence: Fence,
    answers: Iterable[tuple[Witness, Signature | str]],
    before: dict[str, WitnessState],
    published: LogHead | None,
    size: int,
) -> None:
    """Write what was heard. A witness that begins or ends to fail is an event of the platform's."""
    now_us, states, told = context.clock_us(), [], []
    for witness, said in answers:
        vkey = vkey_format(witness.key)
        old = before.get(vkey, WitnessState(vkey))
        if isinstance(said, Signature):
            new = WitnessState(vkey, size, now_us)
        else:
            new = replace(old, failure=said, failed_us=now_us)
        states.append(new)
        if bool(old.failure) != bool(new.failure):
            action = "witness_fail" if new.failure else "witness_return"
            told.append(_event(context, action, witness, new))
            _log.warning("witness %s: %s", witness.key.name, new.failure or "cosigns again")
    context.store.transact_wait(fence, witnesses_write, states, published, told)


def _event(context: LoopContext, action: str, witness: Witness, state: WitnessState) -> dict[str, object]:
    detail = {"witness": witness.key.name, "vkey": state.vkey, "failure": state.failure}
    organization = context.platform_organization_id
    return event_row(
        action,
        at_us=context.clock_us(),
        actor=SYSTEM_ACTOR,
        resource=organization,
        organization=organization,
        detail=detail,
    )
