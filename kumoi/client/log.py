"""The public log: its checkpoint, tiles and key, and the receipts of events."""

import re
import time

from kumoi.client.errors import ArgumentInvalid, ConflictError, WaitTimeout
from kumoi.client.flows import Flow, Pause, Request
from kumoi.client.groups import D, Group, Operation
from kumoi.client.requests import ask, get, path
from kumoi.client.retries import exchange
from kumoi.model.records import Receipt
from kumoi.model.witnesses import WitnessedLog

NOT_LOGGED_YET = "event_not_logged_yet"
_POLL_S = 0.25
_PATH = re.compile(r"checkpoint|vkey|tile(/[a-z0-9]+)+(\.p/[0-9]+)?")


def log_read(at: str) -> Flow[bytes]:
    """The file of the log at a path such as `checkpoint` or `tile/0/000.p/5`; needs no token.

    On a `Kumoi` client this is the `fetch` that `kumoi.ledger.verify.log_verify` asks for.
    """
    if not _PATH.fullmatch(at):
        raise ArgumentInvalid(f"{at!r} is not a path of the log")
    answer = yield from exchange(Request("GET", f"/log/{at}", authenticated=False))
    return answer.body


def log_checkpoint() -> Flow[bytes]:
    """The newest signed checkpoint."""
    return log_read("checkpoint")


def log_vkey() -> Flow[str]:
    """The log's verifier key, as the plane says it: to be trusted, get it another way as well."""
    return (yield from log_read("vkey")).decode().strip()


def log_witnesses() -> Flow[WitnessedLog]:
    """Who cosigns the log, and how far it is published. The plane says so: verify with keys of your own."""
    return (yield from ask(WitnessedLog, Request("GET", "/log/witnesses", authenticated=False)))


def log_receipt(event: str, *, timeout_s: float = 0.0) -> Flow[Receipt]:
    """What proves an event. Waits up to `timeout_s` for an event that has no place in the log yet."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            return (yield from ask(Receipt, get(path("events", event, "receipt"))))
        except ConflictError as error:
            left_s = until_s - time.monotonic()
            if error.code != NOT_LOGGED_YET or timeout_s <= 0:
                raise
            if left_s <= 0:
                raise WaitTimeout(f"the place of {event} in the log", timeout_s) from error
        yield Pause(min(_POLL_S, left_s))


class Log(Group[D]):
    """`client.log`"""

    read = Operation(log_read)
    checkpoint = Operation(log_checkpoint)
    vkey = Operation(log_vkey)
    witnesses = Operation(log_witnesses)
    receipt = Operation(log_receipt)
