"""Judge a checkpoint, remember it, cosign it: in this order, one after the other."""

from collections.abc import Callable, Iterable

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open, checkpoint_peek, cosignature_sign
from kumoi.ledger.errors import LedgerError, MismatchError
from kumoi.ledger.note import Signer, VerifierKey, signatures_format
from kumoi.ledger.witness import add_checkpoint_parse, checkpoint_judge
from kumoi.witness.records import Records


class UnknownLogError(LedgerError):
    """The witness does not watch a log of this origin."""


class Cosigner:
    """The witness's key, the logs that it watches and what it saw of them. For one thread."""

    def __init__(
        self, signer: Signer, logs: Iterable[VerifierKey], records: Records, clock_s: Callable[[], int]
    ) -> None:
        """Raises MismatchError where what is remembered of a log was not signed by its key."""
        self._signer = signer
        self._logs = {key.name: key for key in logs}
        self._records = records
        self._clock_s = clock_s
        for origin in self._logs:
            self._seen(origin)

    def cosign(self, body: bytes) -> bytes:
        """The cosignature line for an `add-checkpoint` request. Raises LedgerError; then nothing changed.

        Whatever is answered was written before: a witness that is killed never forgets what it signed.
        """
        request = add_checkpoint_parse(body)
        origin = checkpoint_peek(request.checkpoint).origin
        if origin not in self._logs:
            raise UnknownLogError(
                "this witness does not watch that log; ask its operator to add the log's key"
            )
        seen = self._seen(origin)
        checkpoint = checkpoint_judge(request, self._logs[origin], seen)
        if checkpoint != seen or not self._records.is_durable(origin):
            self._records.write(origin, request.checkpoint)
        return signatures_format([cosignature_sign(checkpoint, self._signer, self._clock_s())]).encode()

    def _seen(self, origin: str) -> Checkpoint | None:
        kept = self._records.read(origin)
        if kept is None:
            return None
        try:
            return checkpoint_open(kept, self._logs[origin]).checkpoint
        except LedgerError as error:
            raise MismatchError(f"what is remembered of the log {origin} is damaged: {error}") from error
