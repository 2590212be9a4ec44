"""What every engine promises, shown on each of them."""

import threading
from typing import Any

import pytest

from kumoi.engines.base import ExitRecord, Observation, Phase, StartRefused, Stream
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S

Harness = Any


def exit_of(observation: Observation) -> ExitRecord:
    assert observation.exit is not None
    return observation.exit


def observed(harness: Harness) -> dict[str, Observation]:
    return {item.ref: item for item in harness.engine.observe(None, 1_000).items}


def start(harness: Harness, *specs: Any) -> None:
    assert harness.engine.ensure(specs) == {spec.ref: None for spec in specs}


def test_an_exit_is_recorded_with_its_code_and_times(harness: Harness) -> None:
    good, bad = harness.spec("exit 0"), harness.spec("exit 3")
    before_us = harness.now_us()
    start(harness, good, bad)
    records = [exit_of(item) for item in harness.settle(good.ref, bad.ref)]
    assert [(r.outcome, r.exit_code, r.signal) for r in records] == [
        (AttemptOutcome.EXITED, 0, None),
        (AttemptOutcome.EXITED, 3, None),
    ]
    for record in records:
        assert record.started_us is not None
        assert before_us <= record.started_us <= record.ended_us <= harness.now_us()


def test_a_signal_is_recorded_as_one(harness: Harness) -> None:
    spec = harness.spec("die 11")
    start(harness, spec)
    record = exit_of(*harness.settle(spec.ref))
    assert (record.outcome, record.exit_code, record.signal) == (AttemptOutcome.SIGNALLED, None, 11)


def test_wall_time_ends_an_attempt(harness: Harness) -> None:
    spec = harness.spec("hang", limits={"wall_time_s": 1})
    start(harness, spec)
    record = exit_of(*harness.settle(spec.ref))
    assert record.outcome is AttemptOutcome.TIMEOUT
    assert record.started_us is not None
    assert record.ended_us - record.started_us >= US_PER_S


def test_memory_over_the_limit_ends_an_attempt(harness: Harness) -> None:
    if "no writable cgroups" in harness.engine.hosts()[0].detail:
        pytest.skip("without control groups a task that gets no memory ends by itself, in its own way")
    spec = harness.spec("eat memory", limits={"memory_bytes": 24 << 20})
    start(harness, spec)
    assert exit_of(*harness.settle(spec.ref)).outcome is AttemptOutcome.MEMORY


def test_a_running_attempt_is_observed_and_stops_when_asked(harness: Harness) -> None:
    spec = harness.spec("hang")
    start(harness, spec)
    assert observed(harness)[spec.ref].phase is Phase.RUNNING
    assert observed(harness)[spec.ref].exit is None
    assert harness.engine.ended(10) == [] or harness.engine.ended(10) == ()
    harness.engine.stop([spec.ref, spec.ref], 20.0)
    ended = harness.settle(spec.ref)[0]
    assert ended.phase is Phase.ENDED
    assert exit_of(ended).outcome is AttemptOutcome.CANCELLED


def test_an_attempt_is_observed_from_its_start_until_it_is_forgotten(harness: Harness) -> None:
    spec = harness.spec("ignore the end")
    start(harness, spec)
    harness.await_output(spec.ref)
    harness.engine.stop([spec.ref], 0.2)
    seen = [observed(harness)[spec.ref].phase for _ in range(20)]
    harness.settle(spec.ref)
    seen += [observed(harness)[spec.ref].phase for _ in range(2)]
    assert seen == sorted(seen, reverse=True), "it ended and ran again"
    assert seen[-1] is Phase.ENDED
    harness.engine.forget([spec.ref])
    assert not observed(harness)


def test_an_attempt_that_ignores_sigterm_is_killed_after_the_grace(harness: Harness) -> None:
    spec = harness.spec("ignore the end")
    start(harness, spec)
    harness.await_output(spec.ref)
    harness.engine.stop([spec.ref], 0.5)
    record = exit_of(*harness.settle(spec.ref))
    assert (record.outcome, record.signal) == (AttemptOutcome.CANCELLED, 9)


def test_a_stop_that_is_repeated_gives_no_more_time_but_may_give_less(harness: Harness) -> None:
    spec, other = harness.spec("ignore the end"), harness.spec("ignore the end")
    start(harness, spec, other)
    for ref in (spec.ref, other.ref):
        harness.await_output(ref)
    harness.engine.stop([spec.ref], 0.3)
    harness.engine.stop([spec.ref, other.ref], 3_600.0)
    assert exit_of(*harness.settle(spec.ref)).outcome is AttemptOutcome.CANCELLED
    assert observed(harness)[other.ref].phase is Phase.RUNNING
    harness.engine.stop([other.ref], 0.0)
    assert exit_of(*harness.settle(other.ref)).outcome is AttemptOutcome.CANCELLED


def test_a_stop_before_the_start_wins(harness: Harness) -> None:
    spec = harness.spec("exit 0")
    harness.engine.stop([spec.ref], 1.0)
    record = exit_of(*harness.settle(spec.ref))
    assert (record.outcome, record.started_us) == (AttemptOutcome.CANCELLED, None)
    assert harness.engine.ensure([spec]) == {spec.ref: None}
    assert exit_of(*harness.settle(spec.ref)) == record
    assert harness.engine.log_read(spec.ref, Stream.STDOUT, 0, 10).ended


def test_a_stop_after_the_end_changes_nothing(harness: Harness) -> None:
    spec = harness.spec("exit 3")
    start(harness, spec)
    before = harness.settle(spec.ref)
    harness.engine.stop([spec.ref], 0.0)
    assert harness.settle(spec.ref) == before


def test_ensure_again_starts_nothing_again(harness: Harness) -> None:
    running, short = harness.spec("hang"), harness.spec("exit 3")
    start(harness, running, short)
    first = harness.settle(short.ref)
    start(harness, running, short)
    start(harness, short)
    assert harness.settle(short.ref) == first
    assert observed(harness)[running.ref].phase is Phase.RUNNING


def test_an_end_that_was_forgotten_is_told_again_to_who_asks_for_the_attempt(harness: Harness) -> None:
    spec = harness.spec("speak")
    start(harness, spec)
    first = harness.settle(spec.ref)
    for _ in range(2):
        harness.engine.forget([spec.ref])
        assert not harness.engine.ended(10)
        start(harness, spec)
        assert list(harness.engine.ended(10)) == first
        assert list(observed(harness)) == [spec.ref]
        assert harness.engine.log_read(spec.ref, Stream.STDOUT, 0, 100).data == b"one\ntwo\n"


def test_an_attempt_whose_time_to_start_has_passed_is_refused(harness: Harness) -> None:
    late = harness.spec("exit 0", start_before_us=harness.now_us())
    good = harness.spec("exit 0")
    answers = harness.engine.ensure([late, good])
    assert isinstance(answers[late.ref], StartRefused)
    assert answers[good.ref] is None
    harness.settle(good.ref)
    assert list(observed(harness)) == [good.ref]


def test_a_lease_ends_its_attempt_unless_renewed(harness: Harness) -> None:
    soon_us = harness.now_us() + 2 * US_PER_S
    lost = harness.spec("hang", lease_expires_us=soon_us)
    kept = harness.spec("hang", lease_expires_us=soon_us)
    free = harness.spec("hang")
    start(harness, lost, kept, free)
    harness.engine.renew({kept.ref: soon_us + 60 * US_PER_S, free.ref: soon_us, "att_unknown": soon_us})
    record = exit_of(*harness.settle(lost.ref))
    assert record.outcome is AttemptOutcome.LEASE_LOST
    assert record.ended_us <= soon_us
    phases = {ref: item.phase for ref, item in observed(harness).items()}
    assert phases == {lost.ref: Phase.ENDED, kept.ref: Phase.RUNNING, free.ref: Phase.RUNNING}


def test_a_lease_never_moves_backwards(harness: Harness) -> None:
    now_us = harness.now_us()
    kept = harness.spec("hang", lease_expires_us=now_us + 3 * US_PER_S // 2)
    later = harness.spec("hang", lease_expires_us=now_us + 2 * US_PER_S)
    start(harness, kept, later)
    harness.engine.renew({kept.ref: now_us + 90 * US_PER_S})
    harness.engine.renew({kept.ref: now_us - US_PER_S})
    assert exit_of(*harness.settle(later.ref)).outcome is AttemptOutcome.LEASE_LOST
    assert observed(harness)[kept.ref].phase is Phase.RUNNING


def test_logs_are_read_by_offset(harness: Harness) -> None:
    spec = harness.spec("speak")
    start(harness, spec)
    harness.settle(spec.ref)
    read = harness.engine.log_read
    part = read(spec.ref, Stream.STDOUT, 0, 3)
    assert (part.data, part.next_offset, part.ended) == (b"one", 3, False)
    rest = read(spec.ref, Stream.STDOUT, part.next_offset, 100)
    assert (rest.data, rest.next_offset, rest.ended) == (b"\ntwo\n", 8, True)
    assert read(spec.ref, Stream.STDOUT, 8, 100).data == b""
    assert read(spec.ref, Stream.STDERR, 0, 100).data == b"problem"


def test_the_log_of_a_running_attempt_is_not_ended(harness: Harness) -> None:
    spec = harness.spec("hang")
    start(harness, spec)
    assert not harness.engine.log_read(spec.ref, Stream.STDOUT, 0, 10).ended


def test_lists_come_in_pages(harness: Harness) -> None:
    specs = [harness.spec("exit 0") for _ in range(7)]
    refs = [spec.ref for spec in specs]
    start(harness, *specs)
    harness.settle(*refs)
    assert len(harness.engine.ended(3)) == 3
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        page = harness.engine.observe(cursor, 3)
        assert len(page.items) <= 3
        seen += [item.ref for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == refs
    assert all(exit_of(item).exit_code == 0 for item in harness.engine.ended(100))


def test_the_oldest_end_comes_first(harness: Harness) -> None:
    specs = [harness.spec("exit 0", ref=f"att_{name}") for name in ("c", "a", "b")]
    for spec in specs:
        start(harness, spec)
        harness.settle(spec.ref)
    assert [item.ref for item in harness.engine.ended(100)] == ["att_c", "att_a", "att_b"]
    assert [item.ref for item in harness.engine.ended(1)] == ["att_c"]


def test_forgotten_attempts_keep_their_logs_until_purged(harness: Harness) -> None:
    spec = harness.spec("speak")
    start(harness, spec)
    harness.settle(spec.ref)
    harness.engine.purge([spec.ref])
    assert [item.ref for item in harness.engine.ended(10)] == [spec.ref], "purged before it was forgotten"
    for _ in range(2):
        harness.engine.forget([spec.ref, "att_unknown"])
        assert not harness.engine.ended(10)
        assert not observed(harness)
        assert harness.engine.log_read(spec.ref, Stream.STDOUT, 0, 3).data == b"one"
    for _ in range(2):
        harness.engine.purge([spec.ref, "att_unknown"])
        gone = harness.engine.log_read(spec.ref, Stream.STDOUT, 0, 3)
        assert (gone.data, gone.next_offset, gone.ended) == (b"", 0, True)
    assert isinstance(harness.engine.ensure([spec])[spec.ref], StartRefused), (
        "a purged attempt was started again"
    )
    harness.engine.stop([spec.ref], 0.0)
    assert not observed(harness)


def test_a_running_attempt_is_neither_forgotten_nor_purged(harness: Harness) -> None:
    spec = harness.spec("hang")
    start(harness, spec)
    harness.engine.forget([spec.ref])
    harness.engine.purge([spec.ref])
    assert observed(harness)[spec.ref].phase is Phase.RUNNING


def test_a_second_engine_object_finds_everything(harness: Harness) -> None:
    running, over, before = harness.spec("hang"), harness.spec("speak"), harness.spec("exit 0")
    start(harness, running, over, before)
    harness.settle(over.ref, before.ref)
    harness.engine.forget([before.ref])
    engine = harness.reopen()
    assert {ref: item.phase for ref, item in observed(harness).items()} == {
        running.ref: Phase.RUNNING,
        over.ref: Phase.ENDED,
    }
    start(harness, running, over, before)
    assert engine.log_read(over.ref, Stream.STDOUT, 0, 3).data == b"one"
    engine.stop([running.ref], 5.0)
    assert exit_of(*harness.settle(running.ref)).outcome is AttemptOutcome.CANCELLED


def test_unknown_references_read_as_empty(harness: Harness) -> None:
    engine = harness.engine
    chunk = engine.log_read("att_unknown", Stream.STDERR, 0, 10)
    assert (chunk.data, chunk.ended) == (b"", True)
    engine.renew({"att_unknown": harness.now_us()})
    engine.forget(["att_unknown"])
    engine.purge(["att_unknown"])
    assert not observed(harness)
    assert engine.ensure([]) == {}


def test_an_end_nudges(harness: Harness) -> None:
    nudged = threading.Event()
    harness.engine.on_change(nudged.set)
    spec = harness.spec("exit 0")
    start(harness, spec)
    harness.settle(spec.ref)
    assert nudged.wait(10)


def test_the_host_is_reported(harness: Harness) -> None:
    (host,) = harness.engine.hosts()
    assert host.healthy, host.detail
    assert host.boot_id
    assert host.cpu_milli > 0
    assert host.memory_bytes > 0


def test_only_attempts_that_serve_and_run_have_an_endpoint(harness: Harness) -> None:
    serving, other, over = harness.spec("hang", port=8_080), harness.spec("hang"), harness.spec(port=8_080)
    start(harness, serving, other, over)
    harness.settle(over.ref)
    refs = [serving.ref, other.ref, over.ref, "att_unknown", "../evil"]
    harness.await_endpoint(serving.ref)
    first = harness.engine.endpoints(refs)
    assert {ref: (where.address, where.port) for ref, where in first.items()} == {
        serving.ref: ("127.0.0.1", 8_080)
    }
    assert harness.reopen().endpoints(refs) == first
    harness.engine.stop([serving.ref], 0.0)
    harness.settle(serving.ref)
    assert harness.engine.endpoints(refs) == {}


@pytest.mark.parametrize("ref", ["../evil", "", ".ended", "a/b", "x" * 200, "a\0b"])
def test_a_reference_that_is_no_name_is_refused(harness: Harness, ref: str) -> None:
    spec = harness.spec("exit 0")
    answers = harness.engine.ensure([harness.spec("exit 0", ref=ref or " ")])
    assert all(isinstance(answer, StartRefused) for answer in answers.values())
    assert harness.engine.ensure([spec]) == {spec.ref: None}
