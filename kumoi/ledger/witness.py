"""What a log asks a witness, and when a witness may sign (C2SP tlog-witness, `add-checkpoint`).

A witness remembers one checkpoint of each log, the latest that it cosigned. It signs a newer one only if the
log proves that it contains that one. So whoever asks for its cosignature is shown the same history as
everybody else, and a history that was rewritten gets none.
"""

from dataclasses import dataclass
from typing import Final

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open
from kumoi.ledger.encoding import base64_format, base64_parse, decimal_parse, text_shown, utf8_parse
from kumoi.ledger.errors import BoundsError, FormatError, HistoryError, StaleSizeError
from kumoi.ledger.note import MAX_NOTE_BYTES, VerifierKey
from kumoi.ledger.tree import EMPTY_ROOT, HASH_BYTES, consistency_verify, size_check

ADD_CHECKPOINT_PATH: Final = "add-checkpoint"
SIZE_MEDIA_TYPE: Final = "text/x.tlog.size"
MAX_CONSISTENCY_HASHES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + (8 << 10)
_OLD = "old "


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request for a cosignature: `checkpoint` is the signed note, `proof` leads there from `old_size`."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def __post_init__(self) -> None:
        size_check(self.old_size, "the old size")
        if len(self.proof) > MAX_CONSISTENCY_HASHES:
            raise BoundsError(
                f"a consistency proof has at most {MAX_CONSISTENCY_HASHES} hashes, not {len(self.proof)}"
            )
        if len(self.checkpoint) > MAX_NOTE_BYTES:
            raise BoundsError(f"a checkpoint has at most {MAX_NOTE_BYTES} bytes, not {len(self.checkpoint)}")


def add_checkpoint_format(request: AddCheckpoint) -> bytes:
    """The body of the request."""
    lines = [f"{_OLD}{request.old_size}", *(base64_format(value) for value in request.proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + request.checkpoint


def add_checkpoint_parse(data: bytes) -> AddCheckpoint:
    """The request in a body. Nothing is verified before `checkpoint_judge`."""
    if len(data) > MAX_REQUEST_BYTES:
        raise BoundsError(f"a request has at most {MAX_REQUEST_BYTES} bytes, not {len(data)}")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise FormatError("a request has a blank line between its proof and its checkpoint")
    first, *rest = utf8_parse(head, "a request").split("\n", MAX_CONSISTENCY_HASHES + 1)
    if not first.startswith(_OLD):
        raise FormatError(f"a request starts with the line 'old SIZE', not {text_shown(first)}")
    old_size = decimal_parse(first.removeprefix(_OLD), "the old size")
    proof = tuple(base64_parse(line, "a hash of the proof", HASH_BYTES) for line in rest)
    return AddCheckpoint(old_size, proof, checkpoint)


def checkpoint_judge(request: AddCheckpoint, key: VerifierKey, seen: Checkpoint | None) -> Checkpoint:
    """The checkpoint that a witness may persist and then cosign, having `seen` that one before.

    Raises FormatError, SignatureError if the log's `key` did not sign, BoundsError if the old size is above
    the new one, StaleSizeError if the witness saw another size, HistoryError if it saw another tree of this
    size, ProofError if the proof does not lead from what it saw to what it is shown.
    """
    checkpoint = checkpoint_open(request.checkpoint, key).checkpoint
    if request.old_size > checkpoint.size:
        raise BoundsError(f"the old size {request.old_size} is above the checkpoint's {checkpoint.size}")
    known_size, known_root = (0, EMPTY_ROOT) if seen is None else (seen.size, seen.root)
    if request.old_size != known_size:
        raise StaleSizeError(known_size)
    if checkpoint.size == known_size and checkpoint.root != known_root:
        raise HistoryError(
            f"another tree of {known_size} entries was cosigned before: the log shows two histories"
        )
    consistency_verify(known_size, known_root, checkpoint.size, checkpoint.root, request.proof)
    return checkpoint
