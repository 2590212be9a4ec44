"""The operations log: events get their place in the tree, in padded batches, under a signed checkpoint.

A batch is appended at every interval, whether anything happened or not: the growth of the log, which
anybody may watch, says next to nothing about the tenants.
"""

import secrets
from collections.abc import Sequence

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import Signer
from kumoi.loops.context import LoopContext
from kumoi.store.log import EVENTS_MAX, log_append
from kumoi.store.writer import Fence


def ledger_activate(context: LoopContext, signer: Signer, fence: Fence) -> bool:
    """Append one batch and move the head by compare-and-swap. More at once while events wait."""

    def sign(size: int, root: bytes) -> str:
        return checkpoint_sign(Checkpoint(signer.name, size, root), signer).decode()

    batch = context.store.transact_wait(
        fence,
        log_append,
        signer.name,
        padding=_padding,
        sign=sign,
        now_us=context.clock_us(),
        always=True,
    )
    context.nudge("witnesses")
    return batch is not None and batch.events == EVENTS_MAX


def _padding(count: int) -> Sequence[bytes]:
    """Entries that cannot be told from events: commitments to nothing under salts that nobody keeps."""
    return [event_commit(secrets.token_bytes(32), b"") for _ in range(count)]
