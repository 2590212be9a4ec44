"""When a witness signs: never two histories, never backwards, never unproved (C2SP tlog-witness)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_open, checkpoint_peek, checkpoint_sign
from kumoi.ledger.errors import (
    BoundsError,
    FormatError,
    HistoryError,
    LedgerError,
    ProofError,
    SignatureError,
    StaleSizeError,
)
from kumoi.ledger.note import Signer
from kumoi.ledger.tree import consistency_prove
from kumoi.ledger.witness import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    add_checkpoint_format,
    add_checkpoint_parse,
    checkpoint_judge,
)

OTHER = Signer("kumoi.local/other", b"\x08" * 32)

MakeLog = Callable[..., Any]


def seen_of(log: Any) -> Checkpoint:
    return checkpoint_open(log.checkpoint, log.signer.key).checkpoint


def ask(log: Any, old_size: int) -> AddCheckpoint:
    proof = consistency_prove(log, old_size, log.edge.size) if old_size else ()
    return AddCheckpoint(old_size, proof, log.checkpoint)


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_a_log_that_only_grows_is_signed_at_every_step(memory_log: MakeLog, sizes: list[int]) -> None:
    seen = None
    for size in sorted(sizes):
        log = memory_log(size)
        request = add_checkpoint_parse(add_checkpoint_format(ask(log, seen.size if seen else 0)))
        seen = checkpoint_judge(request, log.signer.key, seen)
        assert seen == seen_of(log)


@given(before=st.integers(1, 200), more=st.integers(1, 100), changed=st.integers(0, 199))
def test_a_rewritten_history_is_never_signed(
    memory_log: MakeLog, entries: Callable[[int], tuple[bytes, ...]], before: int, more: int, changed: int
) -> None:
    seen = seen_of(memory_log(before))
    forged = memory_log(0)
    rewritten = list(entries(before + more))
    rewritten[changed % before] = b"forged"
    forged.grow(rewritten)
    with pytest.raises(ProofError):
        checkpoint_judge(ask(forged, before), forged.signer.key, seen)
    same_size = memory_log(0)
    same_size.grow(rewritten[:before])
    with pytest.raises(HistoryError, match="two histories"):
        checkpoint_judge(ask(same_size, before), same_size.signer.key, seen)


def test_a_witness_never_goes_back(memory_log: MakeLog) -> None:
    small, large = memory_log(5), memory_log(9)
    with pytest.raises(StaleSizeError) as stale:
        checkpoint_judge(ask(small, 0), small.signer.key, seen_of(large))
    assert stale.value.size == 9
    with pytest.raises(BoundsError, match="above"):
        checkpoint_judge(replace(ask(small, 0), old_size=9), small.signer.key, seen_of(large))
    with pytest.raises(StaleSizeError) as unseen:
        checkpoint_judge(ask(large, 5), large.signer.key, None)
    assert unseen.value.size == 0


def test_what_was_signed_before_may_be_signed_again(memory_log: MakeLog) -> None:
    log = memory_log(7)
    assert checkpoint_judge(ask(log, 7), log.signer.key, seen_of(log)) == seen_of(log)
    with pytest.raises(ProofError):
        checkpoint_judge(replace(ask(log, 7), proof=(b"\0" * 32,)), log.signer.key, seen_of(log))


def test_only_the_logs_own_key_counts(memory_log: MakeLog) -> None:
    log = memory_log(3)
    with pytest.raises(SignatureError):
        checkpoint_judge(ask(log, 0), OTHER.key, None)
    borrowed = checkpoint_sign(replace(checkpoint_peek(log.checkpoint), origin=OTHER.name), OTHER)
    with pytest.raises(SignatureError):
        checkpoint_judge(AddCheckpoint(0, (), borrowed), log.signer.key, None)


def test_a_proof_where_none_is_due_is_refused(memory_log: MakeLog) -> None:
    log = memory_log(3)
    with pytest.raises(ProofError):
        checkpoint_judge(AddCheckpoint(0, (b"\0" * 32,), log.checkpoint), log.signer.key, None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", FormatError),
        (b"old 1\n", FormatError),
        (b"new 1\n\nnote", FormatError),
        (b"old 01\n\nnote", FormatError),
        (b"old -1\n\nnote", FormatError),
        (b"old 1\nAAAA\n\nnote", FormatError),
        (b"old 1\n\xff\n\nnote", FormatError),
        (b"old 1\n" + b"A" * MAX_REQUEST_BYTES, BoundsError),
        (b"old 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\nnote", BoundsError),
    ],
)
def test_requests_in_no_form_are_refused(body: bytes, error: type[LedgerError]) -> None:
    with pytest.raises(error):
        add_checkpoint_parse(body)


@given(body=st.binary(max_size=400))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    try:
        request = add_checkpoint_parse(body)
    except LedgerError:
        return
    assert add_checkpoint_format(request) == body
