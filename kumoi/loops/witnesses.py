"""Witnesses of the log: have each new head cosigned, and publish it once enough of them did.

Nothing is kept that a witness could not tell again: what a crash forgets is asked for once more.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open
from kumoi.ledger.note import Signature, VerifierKey, note_extend, vkey_format
from kumoi.ledger.tree import consistency_prove
from kumoi.loops.context import LoopContext
from kumoi.loops.witness_asking import ASK_S, Prove, Witness, WitnessFailed, cosignature_ask
from kumoi.model.notices import NoticeKind
from kumoi.store.database import Store
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.log import LogHead, StoredTiles, head_read
from kumoi.store.notices import notice_row
from kumoi.store.witnesses import WitnessState, witness_states, witnesses_write
from kumoi.store.writer import Fence, Row

GRACE_S = 0.5
"""So long a complete quorum waits for the other witnesses before it is published."""
FAILURES_TOLD = 3
"""A witness that failed so often in a row is told of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quorum:
    """The log's key, its witnesses, and how many of them must have cosigned what is published.

    `rules` names both: what was published under other rules is not shown under these.
    """

    log: VerifierKey
    needed: int
    witnesses: tuple[Witness, ...]
    rules: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness said of the head `root`: its cosignature, or why there is none."""

    witness: Witness
    root: bytes
    size: int
    said: Signature | str


@dataclass(slots=True)
class WitnessesMemory:
    """Cosignatures of the newest head as they come, whether they are written, and who is being asked."""

    root: bytes = b""
    signed: dict[VerifierKey, Signature] = field(default_factory=dict)
    is_written: bool = False
    asked: set[VerifierKey] = field(default_factory=set)
    answers: "queue.SimpleQueue[Answer]" = field(default_factory=queue.SimpleQueue)


def witnesses_activate(memory: WitnessesMemory, quorum: Quorum, context: LoopContext, fence: Fence) -> bool:
    """Ask whoever did not cosign the newest head yet; publish it when enough did."""
    if not quorum.witnesses:
        return False
    head = context.store.read_wait(head_read, quorum.log.name)
    if head is None:
        return False
    if memory.root != head.root:
        memory.root, memory.signed, memory.is_written = head.root, {}, False
    missing = [one for one in quorum.witnesses if one.key not in memory.signed]
    if not missing and memory.is_written:
        return False
    states = context.store.read_wait(witness_states)
    for witness in missing:
        _ask_begin(memory, context.store, head, states, witness)
    answers = list(_answers(memory, quorum))
    _keep(context, fence, answers, states, _published(memory, quorum, head), quorum)
    memory.is_written = True
    return False


def _ask_begin(
    memory: WitnessesMemory,
    store: Store,
    head: LogHead,
    states: Mapping[str, WitnessState],
    witness: Witness,
) -> None:
    """Ask on a thread of its own, one question at a time: a slow witness costs its own time only."""
    if witness.key in memory.asked:
        return
    memory.asked.add(witness.key)
    state = states.get(vkey_format(witness.key))
    known = min(state.size, head.size) if state else 0

    def ask() -> None:
        said: Signature | str
        try:
            checkpoint = Checkpoint(head.origin, head.size, head.root)
            said = cosignature_ask(witness, checkpoint, head.checkpoint.encode(), known, _prover(store))
        except WitnessFailed as error:
            said = str(error)
        except Exception:
            _log.exception("witness %s could not be asked", witness.key.name)
            said = "it could not be asked"
        memory.answers.put(Answer(witness, head.root, head.size, said))

    threading.Thread(target=ask, name="witness", daemon=True).start()


def _prover(store: Store) -> Prove:
    def prove(old_size: int, size: int) -> tuple[bytes, ...]:
        if not old_size:
            return ()
        return store.read_wait(lambda connection: consistency_prove(StoredTiles(connection), old_size, size))

    return prove


def _answers(memory: WitnessesMemory, quorum: Quorum) -> Iterator[Answer]:
    """Answers as they come, until all have come, the time is up, or the quorum was complete for a while.

    What comes later is found by the next look: every question ends by itself.
    """
    until_s = time.monotonic() + ASK_S
    while memory.asked:
        try:
            answer = memory.answers.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            return
        memory.asked.discard(answer.witness.key)
        if answer.root == memory.root and isinstance(answer.said, Signature):
            memory.signed[answer.witness.key] = answer.said
            if len(memory.signed) == quorum.needed:
                until_s = min(until_s, time.monotonic() + GRACE_S)
        yield answer


def _published(memory: WitnessesMemory, quorum: Quorum, head: LogHead) -> LogHead | None:
    """The head with its cosignatures, once there are enough; verified as everybody would."""
    if len(memory.signed) < quorum.needed:
        return None
    keys = [one.key for one in quorum.witnesses]
    note = note_extend(head.checkpoint.encode(), [memory.signed[key] for key in keys if key in memory.signed])
    checkpoint_open(note, quorum.log, witnesses=keys, quorum=quorum.needed)
    return replace(head, checkpoint=note.decode())


def _keep(
    context: LoopContext,
    fence: Fence,
    answers: Sequence[Answer],
    before: Mapping[str, WitnessState],
    published: LogHead | None,
    quorum: Quorum,
) -> None:
    """Write what was heard. A witness that goes on failing, and one that is back, are events."""
    now_us = context.clock_us()
    states, told, noticed = dict(before), [], []
    for answer in answers:
        vkey = vkey_format(answer.witness.key)
        old = states.get(vkey, WitnessState(vkey))
        if isinstance(answer.said, Signature):
            new = WitnessState(vkey, answer.size, now_us)
        else:
            new = replace(old, failure=answer.said, failed_us=now_us, failures=old.failures + 1)
        states[vkey] = new
        kind = _kind(old, new)
        if kind is not None:
            told.append(_event(context, kind, answer.witness, new))
            noticed.append(notice_row(kind, told[-1]))
    changed = [state for vkey, state in states.items() if state != before.get(vkey)]
    context.store.transact_wait(fence, witnesses_write, changed, published, quorum.rules, told, noticed)
    if noticed:
        context.nudge("notices")


def _kind(old: WitnessState, new: WitnessState) -> NoticeKind | None:
    """What to tell of a witness that was asked again, if anything."""
    if new.failures == FAILURES_TOLD:
        return NoticeKind.WITNESS_FAIL
    if not new.failures and old.failures >= FAILURES_TOLD:
        return NoticeKind.WITNESS_RETURN
    return None


def _event(context: LoopContext, action: NoticeKind, witness: Witness, state: WitnessState) -> Row:
    _log.warning("%s: %s: %s", action, witness.key.name, state.failure or "it cosigns again")
    organization = context.platform_organization_id
    return event_row(
        action,
        at_us=context.clock_us(),
        actor=SYSTEM_ACTOR,
        resource=organization,
        organization=organization,
        detail={"witness": witness.key.name, "vkey": state.vkey, "failure": state.failure},
    )
