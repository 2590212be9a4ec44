"""Trying again: which failures, how often, how long between, and always as the same request.

Every POST carries an Idempotency-Key, drawn once and sent with each try, so a request whose answer was lost
is done once (draft-ietf-httpapi-idempotency-key-header). Delays double and are jittered; Retry-After
(RFC 9110 section 10.2.3) is honoured.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import Final

from kumoi.client.answers import error_from
from kumoi.client.errors import ClientError, Unreachable
from kumoi.client.flows import Answer, Flow, Open, Pause, Request

KEY_HEADER: Final = "Idempotency-Key"
BUSY_STATUSES: Final = frozenset({502, 503, 504})
QUOTA_STATUS: Final = 429
_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class Patience:
    """At most `tries` tries, none of them begun later than `total_s` seconds after the first.

    An answer that says "not now" is asked for again at most `busy_tries` times.
    """

    tries: int = 5
    busy_tries: int = 5
    total_s: float = 60.0
    delay_first_s: float = 0.5
    delay_max_s: float = 16.0

    def delay_s(self, number: int) -> float:
        """How long to wait after failure `number` (from 1): doubled each time, the upper half by chance."""
        full = min(self.delay_max_s, self.delay_first_s * 2.0 ** (number - 1))
        return float(full * _random.uniform(0.5, 1.0))

    def delay_after(self, answer: Answer, number: int) -> float | None:
        """How long to wait after a refusal, None where trying again cannot help.

        429 without Retry-After is a quota that time alone does not refill.
        """
        after_s = _retry_after_s(answer)
        if answer.status in BUSY_STATUSES or (answer.status == QUOTA_STATUS and after_s is not None):
            return self.delay_s(number) if after_s is None else after_s + _random.uniform(0.0, 0.5)
        return None


REQUEST: Final = Patience()
POLL: Final = Patience(tries=60, total_s=60.0, delay_max_s=2.0)
"""For reads that are repeated anyway: they outlast a plane that is being restarted."""


def exchange(
    effect: Request | Open, patience: Patience = REQUEST, clock_s: Callable[[], float] = time.monotonic
) -> Flow[Answer]:
    """Send a request until it is answered; raises Unreachable or the KumoiAPIError of the last answer.

    A DELETE that finds nothing after a try with a lost answer has been done by that try.
    """
    request = _keyed(effect.request if isinstance(effect, Open) else effect)
    deadline_s = clock_s() + patience.total_s
    answer_lost = False
    number = busy = 0
    while True:
        number += 1
        failure: ClientError
        delay_s: float | None
        try:
            answer: Answer = yield (Open(request) if isinstance(effect, Open) else request)
        except Unreachable as error:
            failure = Unreachable(error.url, error.cause, tries=number, permanent=error.permanent)
            delay_s = None if error.permanent else patience.delay_s(number)
            answer_lost = True
        else:
            if answer.status < 400:
                return answer
            if answer.status == 404 and request.method == "DELETE" and answer_lost:
                return replace(answer, status=204, body=b"")
            busy += 1
            failure = error_from(answer)
            delay_s = patience.delay_after(answer, number) if busy < patience.busy_tries else None
        if delay_s is None or number >= patience.tries or clock_s() + delay_s > deadline_s:
            raise failure
        yield Pause(delay_s)


def _keyed(request: Request) -> Request:
    if request.method != "POST" or any(name == KEY_HEADER for name, _ in request.headers):
        return request
    return replace(request, headers=(*request.headers, (KEY_HEADER, uuid.uuid4().hex)))


def _retry_after_s(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None
