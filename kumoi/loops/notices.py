"""Notices: written out to the targets that want each, and tried until they are taken.

A sending that is under way is as pending as one that waits: what a crash forgets is sent again, under the
same id. Each try has a thread and a bounded time of its own; which are begun is decided so that slow or
hostile receivers keep only each other waiting.
"""

import logging
import queue
import threading
import zlib
from dataclasses import dataclass, field

from kumoi.core.notice_addresses import NoticeRules
from kumoi.core.notices import KEY_WAIT_S, Due, retry_decide, sendings_choose
from kumoi.loops.context import LoopContext
from kumoi.loops.notice_mails import MailRelay, mail_send
from kumoi.loops.notice_sending import NotSent, Trust, notice_make
from kumoi.loops.notice_webhooks import webhook_send
from kumoi.model.notices import NoticeChannel, NoticeKind
from kumoi.model.time import US_PER_S
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn, SealBroken
from kumoi.store.keys.names import Sealed
from kumoi.store.notice_targets import target_seal_name
from kumoi.store.notices import (
    SendingEnd,
    notice_expand,
    sendings_due,
    sendings_get,
    sendings_record,
)
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Fence

DUE_MAX = 1_000
"""Targets that are looked at together."""
DOUBTFUL_MAX = 10_000
_PPM = 1_000_000

_log = logging.getLogger(__name__)


class KeyAway(NotSent):
    """The key of the target's organization is not there now; the sending waits for it, however long."""


@dataclass(frozen=True, slots=True)
class NoticeWays:
    """How notices leave: where they may go, whom TLS trusts, and the mail relay if there is one."""

    rules: NoticeRules
    trust: Trust
    relay: MailRelay | None = None


@dataclass(slots=True)
class NoticesMemory:
    """What is under way, what ended and is not written yet, and the targets whose last try failed."""

    under_way: dict[str, Due] = field(default_factory=dict)
    heard: "queue.SimpleQueue[SendingEnd]" = field(default_factory=queue.SimpleQueue)
    ended: list[SendingEnd] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)


def notices_activate(memory: NoticesMemory, ways: NoticeWays, context: LoopContext, fence: Fence) -> bool:
    """Write what was heard, expand one notice, begin what is due. More at once while notices wait."""
    _ends_record(memory, context, fence)
    more = context.store.transact_wait(fence, notice_expand, context.clock_us())
    _due_begin(memory, ways, context)
    return more


def _ends_record(memory: NoticesMemory, context: LoopContext, fence: Fence) -> None:
    """Write what became of tries; until it is written it is kept, and its sending not begun again."""
    while not memory.heard.empty():
        memory.ended.append(memory.heard.get())
    if not memory.ended:
        return
    context.store.transact_wait(fence, sendings_record, memory.ended)
    for end in memory.ended:
        due = memory.under_way.pop(end.id)
        if end.is_delivered:
            memory.doubtful.discard(due.target_id)
        else:
            if len(memory.doubtful) >= DOUBTFUL_MAX:
                memory.doubtful.clear()
            memory.doubtful.add(due.target_id)
    memory.ended.clear()


def _due_begin(memory: NoticesMemory, ways: NoticeWays, context: LoopContext) -> None:
    rows = context.store.read_wait(sendings_due, context.clock_us(), DUE_MAX)
    due = [
        Due(row.id, row.target_id, row.organization_id, row.attempts > 0 or row.target_id in memory.doubtful)
        for row in rows
    ]
    chosen = {one.id: one for one in sendings_choose(due, list(memory.under_way.values()))}
    if not chosen:
        return
    for row in context.store.read_wait(sendings_get, list(chosen)):
        _try_begin(memory, ways, context, row)
        memory.under_way[row.id] = chosen[row.id]


def _try_begin(memory: NoticesMemory, ways: NoticeWays, context: LoopContext, row: AnyRow) -> None:
    def send() -> None:
        failure, is_counted = "", True
        try:
            _try(ways, context, row)
        except KeyAway as error:
            failure, is_counted = str(error), False
        except NotSent as error:
            failure = str(error)
        except Exception:
            _log.exception("the notice %s could not be sent to %s", row.notice_id, row.target_id)
            failure = "it could not be sent"
        memory.heard.put(_end(row, failure, context.clock_us(), is_counted=is_counted))
        context.nudge("notices")

    threading.Thread(target=send, name="notice", daemon=True).start()


def _try(ways: NoticeWays, context: LoopContext, row: AnyRow) -> None:
    """Send once. Raises NotSent, KeyAway where that says nothing about the receiver."""
    notice = notice_make(row, context.region)
    if row.channel == NoticeChannel.MAIL:
        if ways.relay is None:
            raise NotSent("no mail server is set up")
        mail_send(ways.relay, row.address, notice, row.target_id)
        return
    name = target_seal_name(row.organization_id, row.target_id)
    try:
        secret = context.keys.open(name, Sealed(row.sealed, row.key_version))
    except KeyWithdrawn as error:
        raise KeyAway("its secret cannot be opened: the key of the organization is withdrawn") from error
    except SealBroken as error:
        raise NotSent("its secret does not open with the key that sealed it") from error
    except KeyFailure as error:
        raise KeyAway("its secret cannot be opened: the key of the organization cannot be had") from error
    webhook_send(row.address, secret, notice, context.clock_us(), ways.rules, ways.trust.context)


def _end(row: AnyRow, failure: str, now_us: int, *, is_counted: bool) -> SendingEnd:
    if not failure:
        return SendingEnd(row.id, now_us, is_delivered=True)
    kind = NoticeKind(row.kind)
    if not is_counted and kind is not NoticeKind.TRIAL:
        later_us = now_us + KEY_WAIT_S * US_PER_S
        return SendingEnd(row.id, now_us, False, failure, later_us, is_counted=False)
    tries = row.attempts + 1
    jitter_ppm = zlib.crc32(f"{row.id}/{tries}".encode()) % _PPM
    next_us = retry_decide(kind, tries, row.created_us, now_us, jitter_ppm)
    return SendingEnd(row.id, now_us, is_delivered=False, failure=failure, next_us=next_us)
