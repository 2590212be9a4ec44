"""The whole table of what follows an attempt."""

import pytest

from kumoi.core.lifecycles import TASK
from kumoi.core.retries import START_TRIES_MAX, TaskNext, decide_next
from kumoi.model.jobs import AttemptOutcome, RetryPolicy, RetryReason

NEVER = RetryPolicy(limit=0)
ON_EXIT = RetryPolicy(limit=2, on=(RetryReason.EXIT_CODE,))
ON_75 = RetryPolicy(limit=2, on=(RetryReason.EXIT_CODE,), exit_codes=(75,))
ON_LOSS = RetryPolicy(limit=2)
ON_TIME = RetryPolicy(limit=2, on=(RetryReason.TIMEOUT,))
ON_NOTHING = RetryPolicy(limit=2, on=())
ALL = (NEVER, ON_EXIT, ON_75, ON_LOSS, ON_TIME, ON_NOTHING)
RETRIED_BY = {
    (AttemptOutcome.EXITED, 1): {ON_EXIT},
    (AttemptOutcome.EXITED, 75): {ON_EXIT, ON_75},
    (AttemptOutcome.SIGNALLED, None): {ON_EXIT, ON_75},
    (AttemptOutcome.MEMORY, None): {ON_EXIT, ON_75},
    (AttemptOutcome.TIMEOUT, None): {ON_TIME},
    (AttemptOutcome.HOST_LOST, None): {ON_LOSS},
    (AttemptOutcome.LEASE_LOST, None): {ON_LOSS},
    (AttemptOutcome.START_FAILED, None): set(ALL),
    (AttemptOutcome.PREEMPTED, None): set(ALL),
}


def test_the_table_names_every_outcome() -> None:
    named = {outcome for outcome, _ in RETRIED_BY} | {AttemptOutcome.CANCELLED}
    assert named == set(AttemptOutcome)


@pytest.mark.parametrize("ended", RETRIED_BY, ids=str)
@pytest.mark.parametrize("policy", ALL, ids=str)
def test_an_attempt_is_retried_by_its_policy(
    policy: RetryPolicy, ended: tuple[AttemptOutcome, int | None]
) -> None:
    following = decide_next(policy, 1, *ended)
    assert following.state == ("queued" if policy in RETRIED_BY[ended] else "failed")
    outcome, exit_code = ended
    assert following.reason == (f"exit code {exit_code}" if exit_code else outcome.value)


@pytest.mark.parametrize("number", range(1, 5))
def test_retries_end_with_their_limit(number: int) -> None:
    expected = "queued" if number <= ON_EXIT.limit else "failed"
    assert decide_next(ON_EXIT, number, AttemptOutcome.EXITED, 1).state == expected


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_success_and_cancellation_are_final(policy: RetryPolicy) -> None:
    assert decide_next(policy, 1, AttemptOutcome.EXITED, 0) == TaskNext("succeeded", None)
    assert decide_next(policy, 1, AttemptOutcome.CANCELLED, None) == TaskNext("cancelled", "cancelled")


def test_a_start_that_fails_is_tried_again_whatever_the_policy_but_not_for_ever() -> None:
    following = [
        decide_next(NEVER, failures + 1, AttemptOutcome.START_FAILED, None, start_failures=failures)
        for failures in range(START_TRIES_MAX + 1)
    ]
    assert [one.state for one in following] == ["queued"] * (START_TRIES_MAX - 1) + ["failed"] * 2
    delays = [one.delay_s for one in following[: START_TRIES_MAX - 1]]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_failed_starts_are_not_tries_of_the_job() -> None:
    exited = AttemptOutcome.EXITED
    assert decide_next(ON_EXIT, 4 + ON_EXIT.limit, exited, 1, start_failures=4).state == "queued"
    assert decide_next(ON_EXIT, 5 + ON_EXIT.limit, exited, 1, start_failures=4).state == "failed"


def test_every_answer_is_a_move_of_the_lifecycle() -> None:
    for policy in ALL:
        for outcome in AttemptOutcome:
            for exit_code in (None, 0, 1, 75):
                for number in (1, 3, 9):
                    assert TASK.allows("active", decide_next(policy, number, outcome, exit_code).state)
